"""Reading credentials on the host, at launch: the values go to the gate by fork and are written nowhere.

A variable, a file (with a JSON pointer into it), a command's output, or an entry of the keyring. Each failure names
the credential and what to do, and never shows a value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Harness
from claude_bottle.keeper.credentials import COMMAND_CWD, COMMAND_SECONDS, no_value, printed
from claude_bottle.keeper.sources import command, read_file, read_variable
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret, new_placeholder
from claude_bottle.model.plan import PlannedCredential

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
        return read_variable(spec, environ)
    if spec.source == "file":
        return read_file(spec)
    return _from_command(spec)


def _from_command(spec: CredentialSpec) -> Secret:
    """What it prints. It runs with the operator's environment, it is the operator's own command; but never where an
    agent may have written (see `keeper.credentials`)."""
    try:
        done = proc.run(command(spec), env=os.environ, cwd=COMMAND_CWD, timeout=COMMAND_SECONDS, check=False)
    except BottleError as problem:
        raise no_value(spec, problem.what, problem.do) from None
    return printed(spec, done.code, done.out, done.err)
