"""One request to the gate itself, `http://bottle.internal/`: its body is read, bounded, and answered by `pages`.

It stands where an `Exchange` stands for a request that goes up. An answer that waits for the operator is a stream of
events, or one response at its time; the client's leaving ends the wait, whatever was asked. Logic only: no sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import core, limits
from claude_bottle.gate.answer import answer
from claude_bottle.gate.body import LAST_CHUNK, BadBody, chunk, reader
from claude_bottle.gate.pages import Asked, Pending, Reply, event

if TYPE_CHECKING:
    from claude_bottle.gate.desk import Wait
    from claude_bottle.gate.head import Request
    from claude_bottle.gate.http import HttpStage
    from claude_bottle.model.urlpath import Target

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"


class Local:
    """The stage hears `exchange_done` or is given the answer once, unless the conversation ends."""

    link = -1  # never an upstream's

    def __init__(self, stage: HttpStage, request: Request, target: Target) -> None:
        self._stage, self.request, self._target = stage, request, target
        self._conversation = stage.conversation
        self._reader = reader(request.length, request.chunked, request.parser)
        self._body = bytearray()
        self._problem: Reply | None = None
        self._pending: Pending | None = None
        self._since = self._conversation.state.clock()
        self._until: float | None = None
        if request.length is not None and request.length > limits.OWN_BODY:
            self._refuse_body(413, f"a request has at most {limits.OWN_BODY} bytes")

    # The request's body

    @property
    def request_done(self) -> bool:
        return self._reader.done or self._problem is not None

    @property
    def takes_body(self) -> bool:
        return not self.request_done

    @property
    def outlives_client(self) -> bool:
        """A client that has said all it wants to say may wait for what takes a moment, but one that has left would keep its
        place for as long as an operator thinks."""
        pending = self._pending
        return pending is not None and not pending.streams and self._until is not None and self._until <= self._since

    def client_received(self, data: bytes | bytearray | memoryview) -> bytes:
        """Body bytes; what came after the body is given back."""
        try:
            for piece in self._reader.feed(data):
                self._body += piece
        except BadBody as bad:
            self._refuse_body(400, f"request body: {bad}")
        if len(self._body) > limits.OWN_BODY:
            self._refuse_body(413, f"a request has at most {limits.OWN_BODY} bytes")
        return self._reader.rest if self.request_done else b""

    def _refuse_body(self, status: int, why: str) -> None:
        self._problem = Reply(status, {"error": why})
        self._body.clear()
        self.request.keep = False  # where the next request would begin is not known

    def act(self) -> None:
        """The request is complete."""
        reply = self._problem
        if reply is None:
            asked = Asked(self.request.method, self._target.path, self._target.query or "", self.request.headers,
                          bytes(self._body))  # fmt: skip
            taken = self._conversation.state.pages.take(asked)
            if isinstance(taken, Pending):
                self._wait(taken)
                return
            reply = taken
        self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        keep, head_only = self.request.keep, self.request.method == "HEAD"
        self._stage.answer_own(answer(reply.status, reply.body, head_only=head_only, close=not keep, headers=reply.headers),
                               keep=keep)  # fmt: skip

    # Waiting

    def _wait(self, pending: Pending) -> None:
        self._pending = pending
        state, commands = self._conversation.state, self._conversation.commands
        self._until = None if pending.seconds is None else state.clock() + pending.seconds
        commands += [*pending.commands, core.Await(pending.wait)]
        if pending.streams:
            framing = b"connection: close\r\n" if self.request.old else b"transfer-encoding: chunked\r\n"
            self.request.keep = self.request.keep and not self.request.old
            self._conversation.client.write(_STREAM + framing + b"\r\n")
        self.told(pending.wait)

    def told(self, wait: Wait) -> None:
        """There is news, or there may be."""
        pending = self._pending
        if pending is None or wait is not pending.wait:
            return
        if wait.done or wait.cancelled or (wait.id and self._late):
            self._finish(pending)
            return
        self._say(pending, pending.voice.news(wait))
        self._set_timer()

    @property
    def _late(self) -> bool:
        return self._until is not None and self._conversation.state.clock() >= self._until

    def expired(self) -> None:
        pending = self._pending
        if pending is None:
            self._conversation.finish("timed out")
        elif pending.wait.id and self._late:
            self._finish(pending)
        else:
            self._say(pending, pending.voice.beat(self._conversation.state.clock() - self._since))
            self._set_timer()

    def _set_timer(self) -> None:
        left = limits.BEAT
        if self._until is not None and not self._late:
            left = min(left, self._until - self._conversation.state.clock())
        self._conversation.timer(left)

    def _say(self, pending: Pending, said: bytes) -> None:
        """Something on the stream. To one that does not read, nothing is said."""
        if said and pending.streams and core.CLIENT not in self._conversation.clogged:
            self._write(said)

    def _write(self, data: bytes) -> None:
        for part in (data,) if self.request.old else chunk(data):
            self._conversation.client.write(part)

    def _finish(self, pending: Pending) -> None:
        last = pending.voice.last(pending.wait)
        self.stop("")
        if not pending.streams:
            self._answer(last)
            return
        if not pending.wait.cancelled and last.body is not None:
            self._write(event(last.body, b"message"))
        if not self.request.old:
            self._conversation.client.write(LAST_CHUNK)
        self._stage.exchange_done(keep=self.request.keep, idle_link=None)

    def stop(self, why: str) -> None:
        """It is over, one way or the other: nobody waits here any more."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.wait.changed = None
            pending.over()

    # What can only happen to a request that goes up, or concerns one

    ready = True

    def judged(self) -> None:
        """No grant is needed for the gate's own pages."""
