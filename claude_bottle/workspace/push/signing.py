"""New commits made anew with signatures, once they are judged: the same trees, authors, dates and words, other ids.

Who signs lies elsewhere and never sees more than commits, nor we the key. A signature of the bottle's own gives way. All
of them or none: what cannot be signed refuses the push. Of tags, whose ids would name commits that the remote never gets,
nothing is made anew.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.workspace.push.quarantine import Refuse

if TYPE_CHECKING:
    from claude_bottle.workspace.push.quarantine import Quarantine

_SIZE = struct.Struct(">I")
_MAX_SIGNATURE = 64 << 10
_GONE = "whoever signs the new commits has gone, so none is pushed"
_SIGNATURES = (b"gpgsig ", b"gpgsig-sha256 ")


class Signer:
    """`sock` leads to the process that signs, where there is one."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    def sign(self, commit: bytes) -> bytes:
        """Refuse when it does not."""
        if self._sock is None:
            raise Refuse("the new commits are to be signed, which this bottle was not started for")
        try:
            self._sock.sendall(_SIZE.pack(len(commit)) + commit)
            size = _SIZE.unpack(self._exactly(_SIZE.size))[0]
            answer = self._exactly(size) if size <= _MAX_SIGNATURE else b"-"
        except OSError:
            raise Refuse(_GONE) from None
        if answer[:1] != b"+":
            why = printable(answer[1:].decode("utf-8", "replace")) or "it did not say why"
            raise Refuse(f"the new commits could not be signed, so none is pushed: {why}")
        return answer[1:]

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while self._sock and len(data) < count:
            piece = self._sock.recv(count - len(data))
            if not piece:
                raise Refuse(_GONE)
            data += piece
        return bytes(data)


def rewrite(quarantine: Quarantine, commits: Sequence[str], tips: Sequence[str], signer: Signer) -> dict[str, str]:
    """Old ids to new ones, of `commits`, which come parents first; the new ones lie in the quarantine then."""
    from hashlib import sha1

    _check_tags(quarantine, tips, set(commits))
    made: dict[str, str] = {}
    place = quarantine.place / "signed"
    place.mkdir()
    for one, data in quarantine.contents(commits):
        plain = unsigned(data, made)
        whole = signed(plain, signer.sign(plain))
        made[one.id] = sha1(b"commit %d\0" % len(whole) + whole, usedforsecurity=False).hexdigest()
        (place / made[one.id]).write_bytes(whole)
    asked = "".join(f"{place / one}\n" for one in made.values()).encode()
    written = quarantine.run("hash-object", "-t", "commit", "-w", "--no-filters", "--stdin-paths", input=asked)
    if written.decode().split() != list(made.values()):
        raise BottleError("the signed commits could not be written")
    return made


def unsigned(commit: bytes, made: dict[str, str]) -> bytes:
    """A commit without its signatures, its parents as they were made."""
    head, _, message = commit.partition(b"\n\n")
    lines: list[bytes] = []
    skipping = False
    for line in head.split(b"\n"):
        skipping = line.startswith(_SIGNATURES) or (skipping and line.startswith(b" "))
        if skipping:
            continue
        if line.startswith(b"parent "):
            parent = line[7:].decode("ascii", "replace")
            line = b"parent " + made.get(parent, parent).encode()
        lines.append(line)
    return b"\n".join(lines) + b"\n\n" + message


def signed(plain: bytes, signature: bytes) -> bytes:
    """With the signature as the last of its headers, as git writes it."""
    head, _, message = plain.partition(b"\n\n")
    return head + b"\ngpgsig " + signature.strip(b"\n").replace(b"\n", b"\n ") + b"\n\n" + message


def _check_tags(quarantine: Quarantine, tips: Sequence[str], new: set[str]) -> None:
    kinds = quarantine.objects(tips)
    for tip in (one for one in tips if one in kinds and kinds[one].kind == "tag"):
        if quarantine.run("rev-parse", "--verify", f"{tip}^{{}}").decode().strip() in new:
            raise Refuse("its commits get other ids when they are signed, so a tag cannot come with them: push the branch, "
                         "fetch, and tag what the remote has")  # fmt: skip
