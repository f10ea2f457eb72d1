"""Credentials of a manifest: from the file's words to the model's `CredentialSpec`.

Only what belongs to the file's language is judged here (one source, a duration, a host path); whether names,
headers and formats make sense is asked of `CredentialSpec`, field by field, so that every problem has its own
place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from claude_bottle.manifest.typed import UNSET, UnsetType
from claude_bottle.model.credentials import CredentialSpec, check_credential_name
from claude_bottle.model.durations import seconds
from claude_bottle.state.paths import expand_home

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Alternatives
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import CredentialDoc, FromDoc
    from claude_bottle.state.positions import Path

_RESERVED_PREFIX = "CLAUDE_BOTTLE_"
# The home is where it is, and a conversation is found by it: moved, it would be lost at the end.
_RESERVED = ("HOME", "CLAUDE_CONFIG_DIR")


def credential(name: str, doc: CredentialDoc, path: Path, report: Report) -> Alternatives | None:
    """The alternatives of one credential; None (and problems) when something is wrong with any of them."""
    try:
        check_credential_name(name)
    except ValueError as refused:
        report.problem(path, str(refused), key=True)
        return None
    if doc.one_of is UNSET:
        spec = _single(name, doc, path, report)
        return None if spec is None else (spec,)
    if any(value is not UNSET for value in (doc.from_, doc.env, doc.header, doc.format)):
        report.problem(path, '"one_of" stands alone', "move the other keys into the alternatives")
        return None
    if not doc.one_of:
        report.problem((*path, "one_of"), "an empty list of alternatives", "list at least one")
        return None
    made = []
    for index, alternative in enumerate(doc.one_of):
        place = (*path, "one_of", index)
        if alternative.one_of is not UNSET:
            report.problem(place, "alternatives cannot hold alternatives")
            continue
        made.append(_single(name, alternative, place, report))
    return None if None in made else tuple(spec for spec in made if spec is not None)


def _single(name: str, doc: CredentialDoc, path: Path, report: Report) -> CredentialSpec | None:
    if doc.from_ is UNSET or doc.env is UNSET or doc.header is UNSET:
        missing = [key for key, value in (("from", doc.from_), ("env", doc.env), ("header", doc.header)) if value is UNSET]
        report.problem(path, f"misses {', '.join(missing)}", 'write "from", "env" and "header" (or "one_of")')
        return None
    source = _source(doc.from_, (*path, "from"), report)
    fields: dict[str, Any] = {"env": doc.env, "header": doc.header}
    if doc.format is not UNSET:
        fields["format"] = doc.format
    # Each part is asked about alone, beside harmless others, so that every problem has its own place.
    good: dict[str, Any] = {
        "name": name,
        "source": "env",
        "source_detail": "X",
        "env": "X",
        "header": "x-api-key",
    }
    sound = source is not None and _ask(good | source, (*path, "from"), report)
    for key, value in fields.items():
        sound &= _ask(good | {key: value}, (*path, key), report)
    if (why := reserved_variable(doc.env)) is not None:
        report.problem((*path, "env"), why)
        sound = False
    return CredentialSpec(**(good | (source or {}) | fields)) if sound else None


def _ask(parts: dict[str, Any], place: Path, report: Report) -> bool:
    try:
        CredentialSpec(**parts)
    except ValueError as refused:
        report.problem(place, str(refused))
        return False
    return True


def reserved_variable(name: str) -> str | None:
    """Why a bottle's variable may not have this name; None when it may. LD_PRELOAD and the like may be
    set: they act on programs inside the bottle, where nothing has more rights than any other."""
    if name.startswith(_RESERVED_PREFIX):
        return f"{_RESERVED_PREFIX}* is for claude-bottle itself"
    return f"{name} is set by the bottle and cannot be changed" if name in _RESERVED else None


def host_path(text: str) -> str | None:
    """An absolute host path from an absolute or ~/ one; None when it is neither, or not plain."""
    if not text.isprintable() or (text != "~" and not text.startswith(("/", "~/"))):
        return None
    # normpath would keep two leading slashes, so that //proc were not /proc: refused like every odd spelling.
    if "//" in text or {".", ".."} & set(text.split("/")):
        return None
    return os.path.normpath(expand_home(text, os.environ))


def _source(doc: FromDoc, path: Path, report: Report) -> dict[str, Any] | None:
    """The parts of a `CredentialSpec` that say where the value is read; None (and a problem) when unclear."""
    given = [key for key in ("env", "file", "command", "keyring") if getattr(doc, key) is not UNSET]
    if len(given) != 1:
        report.problem(path, "several sources" if given else "no source",
                       'write exactly one of "env", "file", "command" and "keyring"')  # fmt: skip
        return None
    for key, needs in (("pointer", "file"), ("ttl", "command")):
        if getattr(doc, key) is not UNSET and given != [needs]:
            report.problem((*path, key), f'it goes with "{needs}"')
            return None
    if doc.keyring is not UNSET:
        return {"source": "keyring", "source_detail": doc.keyring}
    if doc.command is not UNSET:
        return _command(doc.command, doc.ttl, path, report)
    if doc.file is not UNSET:
        return _file(doc.file, "" if doc.pointer is UNSET else doc.pointer, path, report)
    return {"source": "env", "source_detail": doc.env}


def _file(text: str, pointer: str, path: Path, report: Report) -> dict[str, Any] | None:
    file = host_path(text)
    if file is None or "#" in text:
        report.problem((*path, "file"), "not an absolute or ~/ path", "write it whole, without .. and #")
        return None
    if pointer and not (pointer.startswith("/") and pointer.isprintable()):
        report.problem((*path, "pointer"), "not a JSON pointer", "write it like /tokens/main (RFC 6901)")
        return None
    return {"source": "file", "source_detail": f"{file}#{pointer}" if pointer else file}


def _command(argv: list[str], ttl: str | UnsetType, path: Path, report: Report) -> dict[str, Any] | None:
    if argv and argv[0].startswith("-"):
        report.problem((*path, "command", 0), "a program's name does not begin with a dash",
                       'write a program and its arguments: ["gh", "auth", "token"]')  # fmt: skip
        return None
    made: dict[str, Any] = {"source": "command", "source_detail": tuple(argv)}
    if ttl is not UNSET:
        found = seconds(ttl)
        if found is None:
            report.problem((*path, "ttl"), "not a duration", "write it like 90s, 15m or 2h")
            return None
        made["ttl"] = found
    return made
