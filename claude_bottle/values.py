"""Classes that are only data: `dataclasses.dataclass` as far as we use it, without what it costs at start.

The standard one compiles six methods per class, used or not: 50 ms of the 130 that the imports of a launch then take. Here
comparison, hash and text are shared functions, and `__init__` is compiled when the first instance is made. For the type
checker this is `dataclasses` itself, and `dataclasses.replace`, `fields` and `asdict` work on the classes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, replace
else:
    _NOTHING = object()

    class _Field:
        """A default that is made anew for every instance, or a value that does not count in comparisons."""

        def __init__(self, default, factory, compare):
            self.default, self.factory, self.compare = default, factory, compare

    def field(*, default=_NOTHING, default_factory=_NOTHING, compare=True):
        return _Field(default, default_factory, compare)

    def dataclass(cls=None, /, *, frozen=False, slots=False):
        """See `dataclasses.dataclass`. Inheritance between such classes, InitVar and ClassVar are not supported."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots)
        names = tuple(cls.__annotations__)
        given = {name: cls.__dict__.get(name, _NOTHING) for name in names}
        fields = {name: one if isinstance(one, _Field) else _Field(one, _NOTHING, True) for name, one in given.items()}
        made = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash if frozen else None}
        if frozen:
            made |= {"__setattr__": _refuse, "__delattr__": _refuse}
        made = {name: method for name, method in made.items() if name not in cls.__dict__}
        made |= {
            "__match_args__": names,
            "__dataclass_fields__": _StandardFields(fields),
            "__values_compared__": tuple(name for name, one in fields.items() if one.compare),
            "__init__": _first_init(fields, frozen, hasattr(cls, "__post_init__")),
        }
        if slots:
            body = {name: value for name, value in cls.__dict__.items() if name not in (*names, "__dict__", "__weakref__")}
            return type(cls)(cls.__name__, cls.__bases__, body | made | {"__slots__": names})
        for name, one in fields.items():
            if one.default is not _NOTHING:
                setattr(cls, name, one.default)
            elif given[name] is not _NOTHING:
                delattr(cls, name)  # what `field` left there
        for name, value in made.items():
            setattr(cls, name, value)
        return cls

    def replace(one, /, **changes):
        """A copy of `one` with some fields changed."""
        return type(one)(**({name: getattr(one, name) for name in type(one).__match_args__} | changes))

    def asdict(one):
        """The fields of `one` by name. Not into values: what nests says itself how it becomes a dict."""
        return {name: getattr(one, name) for name in type(one).__match_args__}

    def _first_init(fields, frozen, has_post_init):
        def __init__(self, *args, **kwargs):
            made = type(self).__init__ = _compile_init(fields, frozen, has_post_init)
            made(self, *args, **kwargs)

        return __init__

    def _compile_init(fields, frozen, has_post_init):
        known = {"_set": object.__setattr__, "_NOTHING": _NOTHING}
        heads, lines = ["self"], []
        for name, one in fields.items():
            value = name
            if one.factory is not _NOTHING:
                known[f"_make_{name}"] = one.factory
                heads.append(f"{name}=_NOTHING")
                value = f"_make_{name}() if {name} is _NOTHING else {name}"
            elif one.default is not _NOTHING:
                known[f"_default_{name}"] = one.default
                heads.append(f"{name}=_default_{name}")
            else:
                heads.append(name)
            lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
        if has_post_init:
            lines.append("self.__post_init__()")
        exec(f"def __init__({', '.join(heads)}):\n " + "\n ".join(lines or ["pass"]), known)  # names of our own classes only
        return known["__init__"]

    def _compared(one):
        return [getattr(one, name) for name in one.__values_compared__]

    def _eq(self, other):
        return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented

    def _hash(self):
        return hash(tuple(_compared(self)))

    def _repr(self):
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{self.__class__.__qualname__}({fields})"

    def _refuse(self, name, *_value):
        raise AttributeError(f"cannot change {name!r}: {self.__class__.__qualname__} is frozen")

    class _StandardFields:
        """`__dataclass_fields__`, made by the standard library when somebody asks."""

        def __init__(self, fields):
            self._fields = fields

        def __get__(self, _one, owner):
            import dataclasses

            made = {}
            for name, one in self._fields.items():
                given = {"default": one.default, "default_factory": one.factory}
                options = {key: value for key, value in given.items() if value is not _NOTHING}
                made[name] = dataclasses.field(compare=one.compare, **options)
            twin = type(owner.__name__, (), {"__annotations__": owner.__annotations__, **made})
            return dataclasses.dataclass(twin).__dataclass_fields__


__all__ = ["asdict", "dataclass", "field", "replace"]
