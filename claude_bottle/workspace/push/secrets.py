"""Secrets in what is new: every object, through gitleaks, which gets one stream and no name, setting or word of the pusher's.

Blobs, commits (messages, authors), tags and all new names go in; what a file is called, looks like or says of itself
(`gitleaks:allow`, a binary's first bytes, its own rules) changes nothing. It is a tripwire: what is encrypted, or odd
enough, it does not see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from claude_bottle import proc
from claude_bottle.workspace.push.quarantine import SECONDS, Refuse

if TYPE_CHECKING:
    from claude_bottle.workspace.push.quarantine import Quarantine

_OPTIONS = (
    "stdin", "--no-banner", "--no-color", "--redact=100", "--report-format=json", "--report-path=-", "--exit-code=0",
    "--ignore-gitleaks-allow", "--log-level=error", "--max-decode-depth=5",
)  # fmt: skip
_SHOWN = 10


def found(quarantine: Quarantine, ids: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """What looks like a secret, in words, without the secret. `names`: what to call an object."""
    stream = quarantine.place / "scanned"
    starts: list[tuple[int, str]] = []
    at = 1
    with stream.open("wb") as file:
        for one, data in quarantine.contents(ids):
            if one.kind == "tree":
                continue  # its names are among `names`
            starts.append((at, names.get(one.id) or f"{one.kind} {one.id[:10]}"))
            file.write(b"== an object ==\n" + data + b"\n")
            at += data.count(b"\n") + 2
        starts.append((at, "the name of a file"))
        listed = "".join(f"== a name == {name}\n" for name in sorted(set(names.values())))
        file.write(listed.encode("utf-8", "surrogateescape"))
    return [f"{_place(starts, line)}: {rule}" for line, rule in _leaks(quarantine, stream.read_bytes())][:_SHOWN]


def _leaks(quarantine: Quarantine, data: bytes) -> list[tuple[int, str]]:
    """(line, name of the rule), by line."""
    env = {"HOME": str(quarantine.place), "PATH": "/nonexistent", "LC_ALL": "C", "GOMAXPROCS": "2"}
    empty = quarantine.place / "empty"
    empty.mkdir(exist_ok=True)
    done = proc.run([quarantine.tools.gitleaks, *_OPTIONS], input=data, env=env, cwd=empty, timeout=SECONDS, check=False)
    try:
        leaks = json.loads(done.out)
        if done.code != 0 or not isinstance(leaks, list):
            raise ValueError
        return sorted((int(one["StartLine"]), str(one["RuleID"])) for one in leaks)
    except (ValueError, KeyError, TypeError):
        raise Refuse("the search for secrets did not work, so nothing is let through") from None


def _place(starts: list[tuple[int, str]], line: int) -> str:
    """`README line 3`."""
    first, name = max((start for start in starts if start[0] <= line), default=starts[0])
    return f"{name} line {max(1, line - first)}"
