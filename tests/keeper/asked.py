"""Bottles whose gate is played: what an agent asks comes from the test, what the keeper tells the gate is seen by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.config import GateConfig
from claude_bottle.model.policy import Rule
from claude_bottle.state.journal import read
from claude_bottle.values import replace
from tests.keeper import orders
from tests.keeper.conftest import Kept, Launch
from tests.keeper.played_gate import Message, PlayedGate

CRATES = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}]}
AGENT = ("sh", "-c", "exec sleep 600")


def host(*names: str, **rule: Any) -> dict[str, Any]:
    return {"kind": "egress", "rules": [{"host": name, **rule} for name in names]}


class Asked:
    """One such bottle."""

    def __init__(self, kept: Kept, gate: PlayedGate) -> None:
        self.kept, self.gate = kept, gate

    @property
    def identity(self) -> str:
        return self.kept.identity

    def requests(self, **message: Any) -> Message:
        with self.kept.control() as control:
            return control.requests(**message)

    def view(self, request: str) -> Message:
        return next(one for one in self.requests(everything=True)["requests"] if one["id"] == request)

    def decide(self, op: str, request: str, **fields: Any) -> list[Message]:
        """As an operator who has just looked; every view that comes of it."""
        shown = self.requests()
        view = next(one for one in shown["requests"] if one["id"] == request)
        message = {"op": op, "id": request, "hash": view["hash"], "revision": shown["revision"], **fields}
        with self.kept.control() as control:
            return list(control.decide(message))

    def approve(self, request: str, scope: str = "session", **fields: Any) -> Message:
        """Approve it and wait for what comes of it, with the gate setting each policy meanwhile."""
        with self.kept.control() as control:
            shown = control.requests()
            view = next(one for one in shown["requests"] if one["id"] == request)
            control.send({"op": "approve", "id": request, "hash": view["hash"], "revision": shown["revision"], "scope": scope,
                          **fields})  # fmt: skip
            if self.gate.obedient:
                self.gate.next(
                    lambda one: one["op"] == "request" and one["id"] == request and one["state"] in ("applied", "failed")
                )
            found: Message = {}
            while found.get("state") not in ("applied", "failed"):
                message = control.next_message()
                assert message is not None
                found = message["request"] if message["op"] == "decided" else found  # type: ignore[assignment]
            return found

    def asked(self, change: object = CRATES, **fields: Any) -> str:
        answer = self.gate.ask(change, **fields)
        assert answer["state"] == "submitted", answer
        return str(answer["id"])

    def events(self, *kinds: str) -> list[Message]:
        lines = read(self.kept.order.paths.journal(self.identity))
        return [line.event for line in lines if line.event and line.event["kind"] in kinds]

    def state_file(self) -> Path:
        return self.kept.order.paths.requests(self.identity)


Bottle = Callable[..., Asked]


@pytest.fixture
def asking(root: Path, launch: Launch) -> Iterator[Bottle]:
    """`asking(*rules of the plan, obedient=…, approvals=…, options of the order)`: a bottle that is up."""
    gates: list[PlayedGate] = []

    def make(
        *rules: Rule, obedient: bool = True, approvals: tuple[Any, ...] = (), argv: tuple[str, ...] = AGENT, **options: Any
    ) -> Asked:
        gate = PlayedGate(obedient=obedient)
        gates.append(gate)
        config = options.pop("gate", None) or GateConfig("tester", tuple(rules))
        order = options.pop("order", None) or orders.order(root, *argv)
        plan = replace(order.plan, egress=tuple(rules), approvals=approvals)
        return Asked(launch(order=replace(order, plan=plan, gate=config, serve=gate.serve, **options)), gate)

    yield make
    for gate in gates:
        gate.close()
