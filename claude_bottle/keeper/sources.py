"""Where a credential's value can be read at once: a variable of the operator's, a file (with a JSON pointer into it).

A command (which is also how a keyring is read) is run beside the loop (`keeper.credentials`) or before there is one
(`workflow.secrets`). Each failure names the
credential and what to do, and never shows a value.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from claude_bottle.keeper.credentials import checked, no_value
from claude_bottle.model.credentials import CredentialSpec, Secret

FILE_LIMIT = 64 * 1024


def read_variable(spec: CredentialSpec, environ: Mapping[str, str] = os.environ) -> Secret:
    """The value of a credential from `env`. BottleError when it is not set."""
    value = environ.get(str(spec.source_detail), "")
    if not value:
        raise no_value(spec, f"${spec.source_detail} is not set", f"export {spec.source_detail}=…")
    return checked(spec, value)


def read_file(spec: CredentialSpec) -> Secret:
    """The value of a credential from `file`. BottleError when it cannot be read."""
    path, mark, pointer = str(spec.source_detail).partition("#")
    place = Path(path).expanduser()
    try:
        text = _read_regular(place).decode("utf-8")
        found = _pointed_at(json.loads(text), pointer) if mark else text
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise no_value(spec, f"{place}: {type(problem).__name__}", "look at the file and the pointer") from None
    return checked(spec, found)


def command(spec: CredentialSpec) -> list[str]:
    """What prints the value of a credential from `command` or `keyring`. The latter is the well-known package's own
    program, from where this one is installed: a locked keyring asks its owner, which is theirs to answer."""
    if spec.source != "keyring":
        return list(spec.source_detail)
    service, _, user = str(spec.source_detail).rpartition("/")
    return [sys.executable, "-I", "-m", "keyring", "get", service, user]


def _read_regular(path: Path) -> bytes:
    """The operator may keep it behind a link of their own; it must end at a regular file of modest size."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_LIMIT:
            raise ValueError
        return os.read(fd, FILE_LIMIT)
    finally:
        os.close(fd)


def _pointed_at(document: object, pointer: str) -> str:
    """RFC 6901; the value must be a text."""
    here = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        here = here[int(name)] if isinstance(here, list) else here[name]  # type: ignore[index]
    if not isinstance(here, str):
        raise TypeError
    return here
