"""What the client of a push sends: commands, then a pack; read as far as somebody wants it, and heard out in the end.

One phase at a time: commands, waiting (nothing is taken), pack, drain (taken and dropped, since a client that is cut off
while it sends loses the answer). Bounded in each. Pure but for its listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_bottle.gate.body import BadBody, Chunked, Counted
from claude_bottle.model import push as wire
from claude_bottle.model.pktline import BadPkt, Reader
from claude_bottle.model.push import BadPush

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.gate.body import Reader as BodyReader
    from claude_bottle.gate.head import Request

COMMANDS, WAIT, PACK, DRAIN = "commands", "wait", "pack", "drain"
MAX_DRAINED = 4 << 30


class Listener(Protocol):
    """Who is told. `sent_all` comes once in each phase that is entered with the end there, or sees it come."""

    def commands_read(self, lines: list[bytes]) -> None: ...
    def pack_came(self, piece: bytes) -> None: ...
    def sent_all(self, phase: str) -> None: ...
    def not_a_push(self, why: str) -> None: ...
    def broken(self, why: str) -> None: ...


class Intake:
    """`held` gives the bytes that came while nothing was taken."""

    def __init__(self, request: Request, listener: Listener, held: Callable[[], bytes]) -> None:
        self._body: BodyReader = Chunked(request.parser) if request.chunked else Counted(request.length or 0)
        self._listener, self._held = listener, held
        self.phase = COMMANDS
        self._reader, self._lines, self._early = Reader(), list[bytes](), bytearray()
        self._size = self._drained = self.taken = 0
        self._told = ""

    @property
    def takes(self) -> bool:
        return self.phase != WAIT and not self._body.done

    @property
    def done(self) -> bool:
        return self._body.done

    def received(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the body. What comes after it is nobody's."""
        try:
            for piece in self._body.feed(data):
                self.taken += len(piece)
                self._take(bytes(piece))
        except BadBody as bad:
            self._listener.broken(f"request body: {bad}")
            return
        self._settle()

    def turn(self, phase: str) -> None:
        """From now on, this is what is taken; what was held comes first."""
        self.phase = phase
        early, self._early = bytes(self._early), bytearray()
        if early:
            self._take(early)
        if not self._body.done and self.phase != WAIT:
            self.received(self._held())
        else:
            self._settle()

    def _settle(self) -> None:
        if self._body.done and self.phase not in (WAIT, self._told):
            self._told = self.phase
            self._listener.sent_all(self.phase)

    def _take(self, piece: bytes) -> None:
        if self.phase == COMMANDS:
            self._read(piece)
        elif self.phase == PACK:
            self._listener.pack_came(piece)
        elif self.phase == WAIT:
            self._early += piece
        else:
            self._drained += len(piece)
            if self._drained > MAX_DRAINED:
                self._listener.broken("more was sent than anybody listens to")

    def _read(self, piece: bytes) -> None:
        self._reader.feed(piece)
        try:
            while (line := self._reader.next()) is not False:
                if line is None:
                    self._early += self._reader.rest
                    self.phase = WAIT
                    self._listener.commands_read(self._lines)
                    return
                self._lines.append(bytes(line))
                self._size += len(self._lines[-1])
            if self._size + len(self._reader.rest) > wire.MAX_COMMAND_BYTES + 4:
                raise BadPush("its commands are too long")
        except (BadPkt, BadPush) as bad:
            self._listener.not_a_push(str(bad))
