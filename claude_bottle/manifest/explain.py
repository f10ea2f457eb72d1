"""What is wrong with a document that did not load, all of it, in words that say what to write instead.

Runs only after a refusal, so it may be slow: jsonschema against the very schema the typed load comes from,
our own scanner for places. What a problem touches is taken out until the rest loads; the rest can then be
judged further.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from claude_bottle.manifest.loading import Loaded
from claude_bottle.manifest.problems import MOST, suggest
from claude_bottle.manifest.schema import WORDS
from claude_bottle.state.positions import MAX_DEPTH, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import ValidationError

    from claude_bottle.manifest.problems import Report
    from claude_bottle.state.positions import Path, Positions

MAX_ROUNDS = 6
# Values that this version does not have yet. Refused, never ignored.
NOT_YET = {"workspace": ("worktree",), "backend": ("kubernetes",)}
SELF_TRUST = ("trust", "trusted", "consent", "approved", "yes", "verify", "insecure", "allow_all", "checks")
_FILLERS: dict[str, Any] = {"egress": {}, "one_of": {}, "mounts": {"source": "", "target": ""}}
_KINDS = {"object": "an object {…}", "array": "a list […]", "string": "a string", "integer": "a whole number",
          "boolean": "true or false", "number": "a number", "null": "null"}  # fmt: skip


def explain(text: str, refusal: str, report: Report) -> Loaded | None:
    """Add every problem of `text`'s form to the report, and return what remains of it, if anything.
    `refusal` is told when nothing else is found, so that a refused document never passes as good."""
    positions = scan(text)
    left: Loaded | None = None
    if _is_json(text, positions, report):
        data = json.loads(text)
        errors = []
        for error in _schema_errors(data):
            _tell(error, report)
            errors.append(error)
        left = _remainder(data, errors)
    if not report:
        report.problem((), f"not a manifest: {refusal}")
    return left


def _is_json(text: str, positions: Positions, report: Report) -> bool:
    """Whether it can be judged further as JSON; doubled keys and constants are reported and do not hinder that."""
    if positions.too_deep is not None:
        report.problem((), f"nested more than {MAX_DEPTH} deep", offset=positions.too_deep)
        return False
    for path, again, first in positions.duplicates:
        line, _ = positions.line_column(first)
        report.problem(path, f"this key was given on line {line} already", "keep one of the two", offset=again)
    for offset in positions.constants:
        report.problem((), "NaN and Infinity are not JSON", "write a number", offset=offset)
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as problem:
        hint = _syntax_hint(text, problem.pos)
        report.problem((), f"not JSON: {problem.msg}", hint, offset=problem.pos)
        return False
    except UnicodeEncodeError:
        report.problem((), "a string holds half a surrogate pair (\\ud800 … \\udfff)", "write the character itself")
        return False
    except (ValueError, RecursionError) as problem:
        report.problem((), f"not JSON: {problem}")
        return False
    return True


def _syntax_hint(text: str, offset: int) -> str:
    rest, before = text[offset:].lstrip(), text[:offset].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments: remove this one"
    if rest.startswith("'"):
        return 'use double quotes: "'
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return "remove the comma before it"
    if not rest:
        return "the file ends too early: close what is open with } or ]"
    return ""


def _schema_errors(data: Any) -> Iterator[ValidationError]:
    from jsonschema import Draft202012Validator

    from claude_bottle.manifest import typed
    from claude_bottle.manifest.shape import ManifestDoc

    return Draft202012Validator(typed.json.schema(ManifestDoc)).iter_errors(data)


def _tell(error: ValidationError, report: Report) -> None:
    path: Path = tuple(error.absolute_path)
    kind = error.validator
    if kind == "additionalProperties":
        for name in _extra_keys(error):
            message, write = _unknown_key(name, path, error)
            report.problem((*path, name), message, write, key=True)
    elif kind == "required":
        missing = [key for key in _list(error.validator_value) if key not in _list(error.instance)]
        write = f'"version": {1}' if missing == ["version"] else f'add "{missing[0]}": …' if missing else ""
        report.problem(path, f"misses {', '.join(missing)}", write)
    elif kind == "type":
        wanted = _KINDS.get(str(error.validator_value), str(error.validator_value))
        report.problem(path, f"expected {wanted}, found {_found(error.instance)}", _words(error))
    elif kind == "enum":
        report.problem(path, *_wrong_choice(path, error))
    else:
        report.problem(path, _bounds(error), _words(error))


def _extra_keys(error: ValidationError) -> list[str]:
    known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    return [key for key in _list(error.instance) if key not in known]


def _unknown_key(name: str, path: Path, error: ValidationError) -> tuple[str, str]:
    known = list(error.schema.get("properties", {})) if isinstance(error.schema, dict) else []
    if name.lower() in SELF_TRUST:
        return (
            f'unknown key "{name}": a manifest cannot declare itself trusted or turn checks off',
            "remove it; trust is given by the operator: claude-bottle trust",
        )
    write = suggest(name, known, f"known here: {', '.join(known)}")
    return f'unknown key "{name}"', write


def _wrong_choice(path: Path, error: ValidationError) -> tuple[str, str]:
    choices = " or ".join(json.dumps(choice) for choice in _list(error.validator_value))
    if path == ("version",):
        newer = isinstance(error.instance, int) and error.instance > 1
        return (
            f"version {error.instance!r} is not known here",
            "upgrade claude-bottle" if newer else "write 1",
        )
    later = NOT_YET.get(str(path[-2 if path[-1] == "mode" else -1]), ()) if path else ()
    if error.instance in later:
        return f"{json.dumps(error.instance)} is not supported yet in this version", f"write {choices}"
    return f"{_found(error.instance)} is not a choice here", f"write {choices}"


def _bounds(error: ValidationError) -> str:
    limit = error.validator_value
    return {
        "minimum": f"must be at least {limit}",
        "maximum": f"must be at most {limit}",
        "maxLength": f"is longer than {limit} characters",
    }.get(str(error.validator), error.message)


def _words(error: ValidationError) -> str:
    """What the key is for, if the schema's words tell."""
    last = next((step for step in reversed(error.absolute_path) if isinstance(step, str)), None)
    matching = {words for key, words in WORDS.items() if key.split(".", 1)[1] == last}
    return matching.pop() if len(matching) == 1 else ""


def _list(value: Any) -> list[Any]:
    return list(value)


def _found(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value, ensure_ascii=False)[:80]


def _remainder(data: Any, errors: list[ValidationError]) -> Loaded | None:
    """The document without what `errors` touch; None when nothing is left that loads."""
    import copy

    from claude_bottle.manifest import typed
    from claude_bottle.manifest.shape import ManifestDoc

    rest = copy.deepcopy(data)
    dropped: set[Path] = set()
    # What is taken out may leave something required missing around it: a few rounds, each outwards.
    for _ in range(MAX_ROUNDS):
        gone = {path for error in errors for path in _touched(error)}
        dropped |= gone
        for path in gone:
            _take_out(rest, path)
        if isinstance(rest, dict):
            rest["version"] = 1
        try:
            return Loaded(typed.convert(rest, ManifestDoc), data, frozenset(dropped))
        except (typed.ValidationError, RecursionError):
            errors = list(islice(_schema_errors(rest), MOST))
    return None


def _touched(error: ValidationError) -> list[Path]:
    path: Path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        return [(*path, name) for name in _extra_keys(error)]
    return [path]


def _take_out(data: Any, path: Path) -> None:
    """Remove the value at `path`. In a list something harmless takes its place, so that indexes stay
    right."""
    if not path:
        return
    here: Any = data
    last: Any = path[-1]
    try:
        for step in path[:-1]:
            here = here[step]
        if isinstance(here, list):
            here[last] = _FILLERS.get(str(path[-2]), "")
        else:
            del here[last]
    except (KeyError, IndexError, TypeError):
        return
