"""Secrets in what is new: every object, through gitleaks, which gets one stream and no name, setting or word of the pusher's.

Blobs, commits (messages, authors), tags and all new names go in; what a file is called, looks like or says of itself
(`gitleaks:allow`, a binary's first bytes, its own rules) changes nothing. It is a tripwire: what is encrypted, or odd
enough, it does not see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle import proc
from claude_bottle.redact import printable
from claude_bottle.workspace.push.quarantine import SECONDS, Refuse

if TYPE_CHECKING:
    from claude_bottle.workspace.push.quarantine import Quarantine

# What is found is masked but for its beginning, which tells an operator a key from a checksum.
_OPTIONS = (
    "stdin", "--no-banner", "--no-color", "--redact=80", "--report-format=json", "--report-path=-", "--exit-code=0",
    "--ignore-gitleaks-allow", "--log-level=error", "--max-decode-depth=5",
)  # fmt: skip
_MAX_FOUND = 100


class Finding(NamedTuple):
    """`rule` of gitleaks, `place` in words, `begins` as what was found does. `key` names it for good: the rule, the object,
    the line; "" where no object is it, but a name."""

    rule: str
    place: str
    begins: str
    key: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


def found(quarantine: Quarantine, ids: Iterable[str], names: Mapping[str, str]) -> list[Finding]:
    """What looks like a secret, by place. `names`: what to call an object."""
    stream = quarantine.place / "scanned"
    starts: list[tuple[int, str, str]] = []
    at = 1
    with stream.open("wb") as file:
        for one, data in quarantine.contents(ids):
            if one.kind == "tree":
                continue  # its names are among `names`
            starts.append((at, names.get(one.id) or f"{one.kind} {one.id[:10]}", one.id))
            file.write(b"== an object ==\n" + data + b"\n")
            at += data.count(b"\n") + 2
        starts.append((at, "the name of a file", ""))
        listed = "".join(f"== a name == {name}\n" for name in sorted(set(names.values())))
        file.write(listed.encode("utf-8", "surrogateescape"))
    return [_placed(starts, *leak) for leak in _leaks(quarantine, stream.read_bytes())[:_MAX_FOUND]]


def _leaks(quarantine: Quarantine, data: bytes) -> list[tuple[int, str, str]]:
    """(line, name of the rule, how it begins), by line."""
    env = {"HOME": str(quarantine.place), "PATH": "/nonexistent", "LC_ALL": "C", "GOMAXPROCS": "2"}
    empty = quarantine.place / "empty"
    empty.mkdir(exist_ok=True)
    done = proc.run([quarantine.tools.gitleaks, *_OPTIONS], input=data, env=env, cwd=empty, timeout=SECONDS, check=False)
    try:
        leaks = json.loads(done.out)
        if done.code != 0 or not isinstance(leaks, list):
            raise ValueError
        return sorted((int(one["StartLine"]), str(one["RuleID"]), str(one["Secret"])) for one in leaks)
    except (ValueError, KeyError, TypeError):
        raise Refuse("the search for secrets did not work, so nothing is let through") from None


def _placed(starts: list[tuple[int, str, str]], line: int, rule: str, secret: str) -> Finding:
    """`README line 3`."""
    first, name, one = max((start for start in starts if start[0] <= line), default=starts[0])
    at = max(1, line - first)
    begins = printable(secret.removesuffix("...").split("\n")[0])[:12]  # of the fifth that gitleaks leaves
    return Finding(rule, f"{name} line {at}", begins, f"{rule}:{one}:{at}" if one else "")
