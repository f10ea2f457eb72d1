"""The remote of one push: the three requests that the gate makes of it, all to the repository that was judged.

What it has, its history for the judge, and in the end the push; each with the operator's credential and nothing of the
client's. One at a time. Logic only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate.call import Call
from claude_bottle.model import push as wire

if TYPE_CHECKING:
    from claude_bottle.gate import core
    from claude_bottle.gate.conversation import Conversation
    from claude_bottle.gate.head import Headers
    from claude_bottle.model.push import Command

PUSHED = (b"content-type", b"application/x-git-receive-pack-request")
_FETCHED = (b"content-type", b"application/x-git-upload-pack-request")
_OWN = [(b"user-agent", b"git/2.40.0 (claude-bottle)"), (b"accept", b"*/*")]

Took = Callable[[bytes], object]
Done = Callable[[int, str], object]


class Remote:
    """`base`: the repository's path as the client wrote it; `headers`: the client's, judged. `answer` is the last small
    answer, whole; `call` what is under way."""

    def __init__(self, conversation: Conversation, origin: core.Origin, base: str, headers: Headers) -> None:
        self._conversation, self._origin, self._base = conversation, origin, base
        self._headers = [*_OWN, *(pair for pair in headers if pair[0] == b"authorization")]
        self.place = f"{origin.host}:{origin.port}{base}"
        self.answer = bytearray()
        self.call: Call | None = None

    def ask_tips(self, done: Done) -> None:
        """What it has."""
        self._ask("info/refs?service=git-receive-pack", wire.MAX_ADVERTISED, done)

    def fetch(self, body: bytes, took: Took, done: Done) -> None:
        self.call = self._calling("git-upload-pack", took, done, _FETCHED, body=body)

    def push(self, commands: tuple[Command, ...], size: int, done: Done) -> None:
        """The commands; a pack of `size` bytes follows."""
        self._ask("git-receive-pack", wire.MAX_ANSWER, done, PUSHED, body=wire.write_commands(commands), follows=size)

    def drop(self) -> None:
        if self.call is not None:
            self.call.drop()
        self.call = None

    def _ask(
        self, what: str, most: int, done: Done, *more: tuple[bytes, bytes], body: bytes | None = None, follows: int = 0
    ) -> None:
        self.answer.clear()
        self.call = self._calling(what, lambda piece: self._more(piece, most), done, *more, body=body, follows=follows)

    def _calling(
        self, what: str, took: Took, done: Done, *more: tuple[bytes, bytes], body: bytes | None = None, follows: int = 0
    ) -> Call:
        target = f"{self._base}/{what}".encode("ascii")
        headers = [*self._headers, *more]
        return Call(self._conversation, self._origin, target, headers, took, done, body=body, more=follows)

    def _more(self, piece: bytes, most: int) -> None:
        self.answer += piece
        if len(self.answer) > most and self.call:
            self.call.fail("the answer is too long")
