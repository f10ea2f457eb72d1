"""A push as it is written down: its commands, what a remote has, what a remote answers (gitprotocol-pack(5)).

Read strictly, from whichever side: what is not understood whole is refused whole. Only refs and ids come out of here;
capabilities are a closed list, and what we say to a remote is written anew. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.model import pktline

if TYPE_CHECKING:
    from claude_bottle.model.git_grant import GitGrant

MAX_COMMANDS, MAX_COMMAND_BYTES = 32, 64 << 10
MAX_ADVERTISED, MAX_ANSWER = 32 << 20, 4 << 20
ZERO = "0" * 40

_ID = re.compile(r"[0-9a-f]{40}")
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([!-~]{1,255})")
# Of a repository with SHA-256 ids: read, so that it can be refused in git's own way.
_LONG_COMMAND = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}) ([!-~]{1,255})")
_TIP = re.compile(rb"([0-9a-f]{40}) ([^\x00-\x20\x7f]{1,4096})")
_SHALLOW = re.compile(rb"shallow [0-9a-f]{40}")
# What a client may ask for; what these do not cover (push options, signed pushes, other hashes) is not passed on.
_PLAIN = frozenset({"report-status", "report-status-v2", "side-band-64k", "quiet", "atomic", "ofs-delta", "delete-refs",
                    "object-format=sha1"})  # fmt: skip
_LONG = "object-format=sha256"
_ASKED = b"report-status side-band-64k object-format=sha1 agent=claude-bottle"


def is_id(word: object) -> bool:
    """Whether it is the id of an object."""
    return isinstance(word, str) and bool(_ID.fullmatch(word))


class BadPush(ValueError):
    """Not a push, or none that is passed on. The text says why, without quoting."""


class Command(NamedTuple):
    """Move `ref` from `old` to `new`; ZERO: it is not there."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        return self.new == ZERO

    @property
    def creates(self) -> bool:
        return self.old == ZERO

    @property
    def is_long(self) -> bool:
        """Whether its ids are SHA-256."""
        return len(self.new) != len(ZERO)

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


class Asked(NamedTuple):
    """The commands of a push and what its client understands."""

    commands: tuple[Command, ...]
    bands: bool
    status: bool


def read_commands(lines: Sequence[bytes]) -> Asked:
    """The lines before the first flush. BadPush, BadPkt."""
    commands: list[Command] = []
    said: frozenset[str] = frozenset()
    for line in lines:
        text, mark, capabilities = line.removesuffix(b"\n").partition(b"\0")
        if not commands and _SHALLOW.fullmatch(text) and not mark:
            continue  # where its own history is cut off is no business of a remote that has it whole
        if text.startswith(b"push-cert"):
            raise BadPush("signed pushes are not passed on: their signature is for another remote's eyes")
        found = _COMMAND.fullmatch(text) or _LONG_COMMAND.fullmatch(text)
        if found is None or (mark and commands):
            raise BadPush("a command that is none")
        if mark:
            said = _capabilities(capabilities)
        commands.append(Command(found[1].decode(), found[2].decode(), found[3].decode()))
    if len(commands) > MAX_COMMANDS:
        raise BadPush(f"more than {MAX_COMMANDS} refs in one push")
    if len({command.ref for command in commands}) != len(commands):
        raise BadPush("the same ref twice")
    if any(command.old == command.new for command in commands):
        raise BadPush("a command that changes nothing")
    if any(command.is_long != (_LONG in said) for command in commands):
        raise BadPush("ids of another kind than it says")
    status = bool(said & {"report-status", "report-status-v2"})
    return Asked(tuple(commands), "side-band-64k" in said, status)


def _capabilities(text: bytes) -> frozenset[str]:
    words = text.decode("ascii", "replace").split()
    said = frozenset(word for word in words if not word.startswith(("agent=", "session-id=")))
    if said - _PLAIN - {_LONG}:
        odd = "push options are" if "push-options" in said else "an extension of the protocol is"
        raise BadPush(f"{odd} not passed on")
    return said


def ungranted(commands: Iterable[Command], grant: GitGrant) -> dict[str, str]:
    """Why not, by ref, as far as names alone tell."""
    found = {}
    for command in commands:
        if not grant.may_push(command.ref):
            found[command.ref] = f"this ref may not be pushed; granted: {', '.join(grant.push)}"
        elif command.is_long:
            found[command.ref] = "repositories with SHA-256 ids can be fetched, but not pushed to through this gate"
        elif command.deletes and not grant.delete:
            found[command.ref] = "deleting refs is not granted"
    return found


def stale(commands: Iterable[Command], tips: Mapping[str, str]) -> dict[str, str]:
    """Why not, by ref, where the remote does not have what the push takes it to have."""
    return {
        command.ref: "the remote has something else there: fetch first"
        for command in commands if tips.get(command.ref, ZERO) != command.old
    }  # fmt: skip


def read_tips(data: bytes) -> dict[str, str]:
    """Refs and ids of a remote, from its answer to info/refs?service=git-receive-pack. BadPush, BadPkt."""
    lines = list(pktline.lines(data))
    if lines[:2] != [b"# service=git-receive-pack\n", None] or lines[-1] is not None or lines.count(None) != 2:
        raise BadPush("the remote did not say what it has")
    tips = {}
    for number, line in enumerate(lines[2:-1]):
        text, mark, capabilities = (line or b"").removesuffix(b"\n").partition(b"\0")
        if mark and number == 0 and any(word.startswith(b"object-format=") and word != b"object-format=sha1"
                                        for word in capabilities.split()):  # fmt: skip
            raise BadPush("the remote's repository does not use SHA-1 ids; such ones are not served yet")
        if _SHALLOW.fullmatch(text):
            raise BadPush("the remote's own history is cut off; nothing can be judged against it")
        found = _TIP.fullmatch(text)
        if found is None:
            raise BadPush("the remote's list of refs cannot be read")
        name = found[2].decode("utf-8", "surrogateescape")
        if name not in ("capabilities^{}", ".have"):
            tips[name] = found[1].decode()
    return tips


def branches_and_tags(tips: Mapping[str, str]) -> list[str]:
    """The ids that a fetch may ask for: what other refs lead to, a server need not hand out."""
    return sorted({tip for ref, tip in tips.items() if ref.startswith(("refs/heads/", "refs/tags/"))})


def write_commands(commands: Sequence[Command]) -> bytes:
    """The commands for the remote, flush included."""
    out = []
    for number, (old, new, ref) in enumerate(commands):
        text = f"{old} {new} {ref}".encode()
        out.append(pktline.line(text + b"\0" + _ASKED if number == 0 else text))
    return b"".join(out) + pktline.FLUSH


class Answered(NamedTuple):
    """A remote's answer: why not by ref ("" where it is done), whether it could use the pack, and its own words."""

    unpack: str
    results: dict[str, str]
    said: str


def read_answer(data: bytes, commands: Sequence[Command]) -> Answered:
    """A remote's whole answer. BadPush, BadPkt."""
    told, words, broken = b"", b"", b""
    for line in pktline.lines(data):
        if line is None:
            continue
        band, text = line[:1], line[1:]
        if band == b"\x01":
            told += text
        elif band == b"\x02":
            words += text
        elif band == b"\x03":
            broken += text
        else:
            raise BadPush("the remote's answer cannot be read")
    said = (words + broken).decode("utf-8", "replace")
    unpack, results = "", dict.fromkeys((command.ref for command in commands), "the remote says nothing of it")
    for line in pktline.lines(told):
        kind, _, rest = (line or b"").decode("utf-8", "replace").removesuffix("\n").partition(" ")
        ref, _, why = rest.partition(" ")
        if kind == "unpack":
            unpack = rest
        elif kind in ("ok", "ng") and ref in results:
            results[ref] = "" if kind == "ok" else why or "refused by the remote"
    return Answered(unpack or "the remote says nothing", results, said)
