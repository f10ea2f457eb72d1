"""What the keeper tells a gate that serves: halt and resume, another policy, a new listener, news of a request, the end.

A message is carried out whole or not at all; one that cannot be is answered with `fault` (and a policy with
`policy_refused`, so that nobody takes for granted what is not in force). Nothing but the control line leads here. May touch:
the state, and through `Site` the server's listeners and conversations.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from claude_bottle.errors import BottleError
from claude_bottle.gate import registration
from claude_bottle.gate.config import credential_from_wire

if TYPE_CHECKING:
    from claude_bottle.gate.control_line import Descriptors
    from claude_bottle.gate.decide import GateState
    from claude_bottle.gate.inject import Injector
    from claude_bottle.model.policy import Rule

Message = dict[str, object]


class Site(Protocol):
    """What of the server an order may concern."""

    def send(self, op: str, **data: object) -> None: ...
    def fault(self, what: str) -> None: ...
    def halt(self, halted: bool) -> None: ...
    def leave(self) -> None: ...
    def listen(self, name: str, sock: socket.socket) -> None: ...
    def serves(self, ports: Collection[int]) -> Collection[int]: ...
    def judge_again(self) -> None: ...


class Orders:
    """`in_bottle` False: listeners may be in our own network, on whatever ports (tests)."""

    def __init__(self, site: Site, state: GateState, *, in_bottle: bool = True) -> None:
        self._site, self._state, self._in_bottle = site, state, in_bottle

    def obey(self, message: Message, descriptors: Descriptors) -> None:
        match message.get("op"):
            case "halt":
                self._site.halt(True)
            case "resume":
                self._site.halt(False)
            case "stop":
                self._site.leave()
            case "credentials":
                self._refresh(message.get("values"))
            case "policy":
                self._replace(message)
            case "request":
                self._news(message)
            case "listener":
                self._listen(message.get("name"), descriptors.take())
            case other:
                self._site.fault(f"unknown control message {str(other)[:40]!r}")

    def _refresh(self, values: object) -> None:
        """New secrets for credentials this gate holds, by name: `{"values": {"github": "…"}}`; null: it has expired."""
        if not isinstance(values, dict) or not all(value is None or isinstance(value, str) for value in values.values()):
            self._site.fault("credentials that are not texts by name")
            return
        self._state.injector = self._state.injector.refreshed(values)

    def _replace(self, message: Message) -> None:
        """Another policy. What is under way and not granted by it any more has ended when `policy_set` is said."""
        state, revision = self._state, message.get("revision")
        try:
            if type(revision) is not int:
                raise ValueError("no revision")
            rules, injector = self._wanted(message)
            limit = message.get("egress_bytes", state.budget.limit)
            if limit is not None and (type(limit) is not int or limit < 0):
                raise ValueError("egress_bytes is a number of bytes, or null")
            money = message.get("money", state.money.limit)
            if money is not None and (type(money) is not int or money < 0):
                raise ValueError("money is a number of millionths of a dollar, or null")
            state.replace_policy(rules, revision=revision, once=_words(message, "once"), revoked=_words(message, "revoked"))
        except (ValueError, TypeError, KeyError, OverflowError) as problem:
            # Of values from a message with secrets, only errors of our own making say anything.
            why = str(problem)[:500] if type(problem) in (ValueError, OverflowError) else "a malformed message"
            self._site.send("policy_refused", revision=revision if type(revision) is int else 0, why=why)
            return
        state.injector, state.budget.limit, state.money.limit = injector, limit, money
        self._site.judge_again()
        self._site.send("policy_set", revision=revision)

    def _wanted(self, message: Message) -> tuple[list[Rule], Injector]:
        from claude_bottle.model.policy import Rule

        given, injector = message.get("rules"), self._state.injector
        if not isinstance(given, list) or not all(isinstance(rule, dict) for rule in given):
            raise ValueError("rules are a list")
        rules = [Rule.from_dict(rule) for rule in given]
        if (credentials := message.get("credentials")) is not None:
            if not isinstance(credentials, list):
                raise ValueError("credentials are a list")
            injector = injector.replaced(credential_from_wire(one) for one in credentials)
        for rule in rules:
            if rule.credential is not None and rule.credential not in injector.names:
                raise ValueError(f"{rule.host}: there is no credential {rule.credential}")
        new = {rule.port for rule in rules} - set(self._state.policy.ports())
        if missing := sorted(new - set(self._site.serves(new))):
            raise ValueError(f"nothing in the bottle listens on port {missing[0]}")
        return rules, injector

    def _news(self, message: Message) -> None:
        said = [message.get(key, "") for key in ("ticket", "id", "state", "text")]
        if all(isinstance(one, str) for one in said):
            self._state.pages.desk.heard(*map(str, said))
        else:
            self._site.fault("news of a request that are not texts")

    def _listen(self, name: object, descriptor: int | None) -> None:
        if descriptor is None:
            self._site.fault("a listener without its socket")
            return
        if not isinstance(name, str) or not name.startswith("port-") or registration.port_of(name) is None:
            os.close(descriptor)
            self._site.fault("a listener with an unknown name")
            return
        try:
            sock = registration.checked(name, descriptor, self._in_bottle)
        except BottleError as problem:
            self._site.fault(problem.why)
            return
        self._site.listen(name, sock)


def _words(message: Message, key: str) -> list[str]:
    found = message.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{key} is a list of names")
    return found
