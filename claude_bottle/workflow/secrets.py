"""Reading credentials on the host, at launch: the values go to the gate by fork and are written nowhere.

A variable, a file (with a JSON pointer into it), or a command's output. Each failure names the credential and what to
do, and never shows a value.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Harness
from claude_bottle.keeper.credentials import COMMAND_CWD, COMMAND_SECONDS, checked, no_value, printed
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret, new_placeholder
from claude_bottle.model.plan import PlannedCredential

FILE_LIMIT = 64 * 1024


_read: list[Secret] = []


def already_read() -> list[str]:
    """The values this process has read, for whoever must keep them out of a text."""
    return [secret.reveal() for secret in _read]


def bind(planned: Sequence[PlannedCredential], harness: Harness) -> tuple[BoundCredential, ...]:
    """Read every credential of a plan and give each its placeholder for this bottle."""
    return tuple(
        BoundCredential(
            one.spec, new_placeholder(one.spec, harness.placeholder_prefix(one.spec.env)), read(one.spec), one.hosts
        )
        for one in planned
    )


def read(spec: CredentialSpec, environ: Mapping[str, str] = os.environ) -> Secret:
    """The value now. BottleError when there is none, or when it could not stand in a header."""
    secret = _read_from(spec, environ)
    _read.append(secret)
    return secret


def _read_from(spec: CredentialSpec, environ: Mapping[str, str]) -> Secret:
    if spec.source == "env":
        value = environ.get(str(spec.source_detail), "")
        if not value:
            raise no_value(spec, f"${spec.source_detail} is not set", f"export {spec.source_detail}=…")
        return checked(spec, value)
    if spec.source == "file":
        return checked(spec, _from_file(spec))
    return _from_command(spec)


def _from_file(spec: CredentialSpec) -> str:
    path, mark, pointer = str(spec.source_detail).partition("#")
    place = Path(path).expanduser()
    try:
        text = _read_regular(place).decode("utf-8")
        return _pointed_at(json.loads(text), pointer) if mark else text
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise no_value(spec, f"{place}: {type(problem).__name__}", "look at the file and the pointer") from None


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


def _from_command(spec: CredentialSpec) -> Secret:
    """What it prints. It runs with the operator's environment, it is the operator's own command; but never where an
    agent may have written (see `keeper.credentials`)."""
    try:
        done = proc.run(list(spec.source_detail), env=os.environ, cwd=COMMAND_CWD, timeout=COMMAND_SECONDS, check=False)
    except BottleError as problem:
        raise no_value(spec, problem.what, problem.do) from None
    return printed(spec, done.code, done.out, done.err)
