"""The calls of the C library that a container's first process needs and Python has no name for.

Beside init.py in the container, standalone like it. Of `ctypes` it takes the half that is written in C, where the
interpreter has it as CPython does: the other half is 3 of the 13 ms from exec to the first word. An argument is an int, or
bytes whose place is passed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    def call(name: str) -> Callable[..., int]: ...
    def errno() -> int: ...
    def _held(content: bytes) -> tuple[object, int]: ...
else:
    try:
        import _ctypes

        class _Int(_ctypes._SimpleCData):
            _type_ = "i"

        class _Byte(_ctypes._SimpleCData):
            _type_ = "b"

        class _Function(_ctypes.CFuncPtr):
            _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
            _restype_ = _Int

        _library = _ctypes.dlopen(None, 0)

        def call(name):
            return _Function(_ctypes.dlsym(_library, name))

        def _held(content):
            held = (_Byte * len(content)).from_buffer_copy(content)
            return held, _ctypes.addressof(held)

        errno = _ctypes.get_errno
    except (ImportError, AttributeError, TypeError):  # another interpreter than the CPythons there have been
        import ctypes

        _library = ctypes.CDLL(None, use_errno=True)

        def call(name):
            return _library[name]

        def _held(content):
            held = ctypes.create_string_buffer(content, len(content))
            return held, ctypes.addressof(held)

        errno = ctypes.get_errno

__all__ = ["Buffer", "call", "checked"]


class Buffer:
    """A copy of some bytes that stays at `address` as long as this does."""

    def __init__(self, content: bytes) -> None:
        self._held, self.address = _held(content)


def checked(result: int) -> int:
    """What a call gave; OSError where that is its failure."""
    if result < 0:
        raise OSError(errno(), os.strerror(errno()))
    return result
