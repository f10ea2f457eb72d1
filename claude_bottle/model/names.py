"""Names of agents and identities: the one check, done before a name becomes a path, a label, a title or an
argument.

Both are lower case (file systems may fold case), start with a letter or digit (no option, no hidden file, no
`..`), and hold nothing but letters, digits, `-` and `_`. An identity is `<agent>-<6 chars>`; the agent is
found by cutting the end off, so an agent's name may itself contain dashes. Nothing here touches the disk,
and nothing heavy is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from claude_bottle.errors import UsageError
from claude_bottle.patterns import regex
from claude_bottle.redact import printable

# 40 characters at most, so that `<agent>-<6>` fits a host name label (63) and a Unix socket's path (107) has
# room.
AGENT_RE = regex(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")
IDENTITY_RE = regex(rf"(?:{AGENT_RE.pattern})-[a-z0-9]{{6}}")

# Crockford's base 32: no i, l, o, u, so that an identity can be read aloud and typed.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SUFFIX = 6


def check_agent_name(name: str) -> str:
    """The name itself if it is well formed; else UsageError."""
    if AGENT_RE.fullmatch(name):
        return name
    raise UsageError(
        f"not an agent's name: {printable(name, width=60)}",
        why="a name has 1 to 40 lower-case letters, digits, - and _; a letter or digit at both ends",
    )


def check_identity(identity: str) -> str:
    """The identity itself if it is well formed; else UsageError."""
    if IDENTITY_RE.fullmatch(identity):
        return identity
    raise UsageError(
        f"not an identity: {printable(identity, width=60)}",
        why="an identity is an agent's name, a dash, and 6 lower-case letters or digits",
        do="claude-bottle ls --all",
    )


def new_identity(agent: str, taken: Iterable[str] = ()) -> str:
    """A fresh random identity for `agent` that is not among `taken`. The caller still creates its place
    exclusively."""
    check_agent_name(agent)
    used = frozenset(taken)
    while True:
        suffix = "".join(_ALPHABET[byte & 31] for byte in os.urandom(_SUFFIX))
        identity = f"{agent}-{suffix}"
        if identity not in used:
            return identity


def new_session_id() -> str:
    """A fresh random UUID (RFC 9562 §5.4). Without the `uuid` module, whose import asks for the platform: 3 ms."""
    random = bytearray(os.urandom(16))
    random[6] = random[6] & 0x0F | 0x40
    random[8] = random[8] & 0x3F | 0x80
    digits = random.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def agent_of(identity: str) -> str:
    """The agent an identity belongs to; UsageError when it is not an identity."""
    return check_identity(identity)[: -_SUFFIX - 1]
