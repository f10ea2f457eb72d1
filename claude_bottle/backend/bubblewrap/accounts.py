"""Users and groups of packages: what a build's /etc/passwd begins with, and what of its end bottles on its layer are told.

In a bottle they are names without a right, since only the bottle's own user is mapped; programs ask for them all the same.
What a build wrote is hostile text: only plain entries with numbers of the system's range come out of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from claude_bottle.backend.base import GID, UID
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to

USERS, GROUPS = "passwd", "group"  # files of a layer, with its own entries only
_LIMIT, _MOST = 1 << 20, 500
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+)+|/")
_OURS = frozenset({"root", "agent", "nobody", "nogroup", "tty"})
_SYSTEM = range(1, 1000)  # adduser.conf(5), FIRST_SYSTEM_UID and below, which Debian gives out itself


class Accounts(NamedTuple):
    """Lines of passwd(5) and group(5)."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def without(self, others: Accounts) -> Accounts:
        """Those whose name the others do not have."""
        return Accounts(_new(self.users, others.users), _new(self.groups, others.groups))

    def with_(self, others: Accounts) -> Accounts:
        more = others.without(self)
        return Accounts(self.users + more.users, self.groups + more.groups)

    def write(self, place: Path) -> None:
        for name, lines in ((USERS, self.users), (GROUPS, self.groups)):
            (place / name).write_text("".join(f"{line}\n" for line in lines))


def _new(lines: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    names = {line.partition(":")[0] for line in known}
    return tuple(line for line in lines if line.partition(":")[0] not in names)


def of_layers(layers: tuple[Path, ...]) -> Accounts:
    """What these layers made."""
    found = Accounts()
    for layer in layers:
        fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = found.with_(read(fd, USERS, GROUPS))
        finally:
            os.close(fd)
    return found


def of_host() -> Accounts:
    """The system accounts of this host, which its own packages have made, and what they build on may belong to."""
    fd = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read(fd, "passwd", "group")
    finally:
        os.close(fd)


def read(directory: int, users: str, groups: str) -> Accounts:
    """The plain system entries of two files below an open directory, through no link."""
    return Accounts(_lines(directory, users, _user), _lines(directory, groups, _group))


def _lines(directory: int, name: str, understand: Callable[[list[str]], str]) -> tuple[str, ...]:
    with suppress(OSError, ValueError):
        fd = open_beneath(directory, name)
        try:
            text = read_up_to(fd, _LIMIT).decode("utf-8", "replace")
        finally:
            os.close(fd)
        found: dict[str, str] = {}
        for line in text.splitlines():
            said = understand(line.split(":"))
            if said:
                found.setdefault(said.partition(":")[0], said)
        return tuple(list(found.values())[:_MOST])
    return ()


def _user(words: list[str]) -> str:
    if len(words) != 7 or not _is_account(words[0], words[2]) or not words[3].isdecimal():
        return ""
    home, shell = (word if _PATH.fullmatch(word) else "/nonexistent" for word in words[5:])
    return f"{words[0]}:x:{words[2]}:{words[3]}::{home}:{shell}"


def _group(words: list[str]) -> str:
    if len(words) != 4 or not _is_account(words[0], words[2]):
        return ""
    members = [name for name in words[3].split(",") if _NAME.fullmatch(name) and name not in _OURS]
    return f"{words[0]}:x:{words[2]}:{','.join(members[:_MOST])}"


def _is_account(name: str, number: str) -> bool:
    known = _NAME.fullmatch(name) and name not in _OURS and number.isascii() and number.isdecimal() and len(number) < 6
    return bool(known) and int(number) in _SYSTEM and int(number) not in (UID, GID)
