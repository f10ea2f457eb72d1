"""Who plays the keeper where there is none: the other end of a gate's control line."""

from __future__ import annotations

import select
import socket

from claude_bottle.gate import control
from claude_bottle.model.policy import Rule
from tests.gate.conftest import RunningGate
from tests.waiting import SECONDS


class Keeper:
    """The keeper's end: messages as they come."""

    def __init__(self, gate: RunningGate) -> None:
        self._sock, self._decoder = gate.keeper, control.Decoder()
        self._messages: list[dict[str, object]] = []

    def next(self) -> dict[str, object]:
        while not self._messages:
            if not select.select([self._sock], [], [], SECONDS)[0]:
                raise AssertionError("the gate says nothing")
            self._messages += self._decoder.feed(self._sock.recv(65536))
        return self._messages.pop(0)

    def tell(self, op: str, **data: object) -> None:
        self._sock.sendall(control.encode(op, **data))

    def expect(self, op: str) -> dict[str, object]:
        """The next message of this kind; others are kept for whoever expects them."""
        passed: list[dict[str, object]] = []
        while (message := self.next())["op"] != op:
            passed.append(message)
        self._messages[:0] = passed
        return message

    def policy(self, revision: int, *rules: Rule, **more: object) -> None:
        """Another policy, in force when this returns."""
        self.tell("policy", revision=revision, rules=[rule.to_dict() for rule in rules], **more)
        assert self.expect("policy_set")["revision"] == revision

    def answer(self, state: str, text: str = "as you wish", *, request: str = "q-12345678") -> dict[str, object]:
        """Take the next request, give it an id, decide it. The request as the gate handed it up."""
        asked = self.expect("ask")
        self.tell("request", ticket=asked["ticket"], id=request, state="submitted", text="the operator has been asked")
        self.tell("request", id=request, state=state, text=text)
        return asked

    def give(self, name: str, sock: socket.socket) -> None:
        """A listener of the bottle's, as it arrives late."""
        socket.send_fds(self._sock, [control.encode("listener", name=name)], [sock.fileno()])
