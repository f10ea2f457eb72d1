"""The credentials of one running bottle: what its gate holds, and what is added to it while it runs.

Which hosts may get one follows from the rules in force, so what is revoked is bound to nothing from then on. Values come
from the operator's own sources, read at the moment of approval; nothing an agent says decides where from. It may read
variables and files and run the operator's commands, beside the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.gate.config import credential_to_wire
from claude_bottle.keeper.credentials import HostCommand, Refresher, Values, no_value, now, printed
from claude_bottle.keeper.sources import command as command_of
from claude_bottle.keeper.sources import read_file, read_variable
from claude_bottle.model import events
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret, new_placeholder
from claude_bottle.redact import printable
from claude_bottle.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order
    from claude_bottle.model.policy import Rule

    Place = tuple[str, int]
    Got = Callable[[Secret], None]
    Failed = Callable[[BottleError], None]


class Vault:
    """`bound` by name, as the gate has them."""

    def __init__(self, order: Order, booted: Booted) -> None:
        self._order, self._booted = order, booted
        self.bound = {one.spec.name: one for one in (order.gate.credentials if order.gate else ())}
        self._expired: set[str] = set()
        self._refreshers: dict[str, Refresher] = {}
        self._commands: set[HostCommand] = set()

    def renew(self, order: Order, booted: Booted) -> None:
        """The bottle has booted again; its gate has `current`, as if nothing had expired."""
        self._order, self._booted = order, booted
        if self._expired and booted.gate:
            booted.gate.tell("credentials", values=self.expired())

    def current(self, rules: Iterable[Rule]) -> tuple[BoundCredential, ...]:
        """Those that some rule needs, with the values they have now, bound to where those rules lead."""
        places = self.places(rules)
        return tuple(replace(one, hosts=places[name]) for name, one in self.bound.items() if name in places)

    def close(self) -> None:
        for refresher in self._refreshers.values():
            refresher.close()
        for command in self._commands:
            command.end()
        self._commands.clear()

    def places(self, rules: Iterable[Rule]) -> dict[str, tuple[Place, ...]]:
        """Where each credential may go under these rules."""
        found: dict[str, set[Place]] = {}
        for rule in rules:
            if rule.credential is not None:
                found.setdefault(rule.credential, set()).add((rule.host, rule.port))
        return {name: tuple(sorted(places)) for name, places in found.items()}

    def to_wire(self, rules: Iterable[Rule]) -> list[dict[str, object]]:
        """As in `GateConfig.to_wire`: for the gate's own control line and nothing else, secrets are in it."""
        return [credential_to_wire(one) for one in self.current(rules)]

    def expired(self) -> Values:
        """Those without a value that is still good, for the gate to be told again after it got them all anew."""
        return dict.fromkeys(self._expired)

    def refreshed(self, values: Values) -> None:
        """What the gate has just been told: new values, None for what has expired."""
        for name, value in values.items():
            if name in self.bound and value is not None:
                self.bound[name] = replace(self.bound[name], secret=Secret(value))
                self._expired.discard(name)
            elif name in self.bound:
                self._expired.add(name)

    def find(self, wanted: str, name: str) -> CredentialSpec | None:
        """The operator's credential called `wanted`, as one called `name`; None for the bottle's own of that name, which it
        has already. BottleError when there is none."""
        if wanted == name and name in self.bound:
            return None
        spec = find(self._order, wanted)
        if name in self.bound and self.bound[name].spec != replace(spec, name=name):
            raise BottleError(f"this bottle has another credential {printable(name, width=64)} already",
                              why="one name stands for one value", do="approve it without --credential")  # fmt: skip
        return replace(spec, name=name)

    def read(self, spec: CredentialSpec, got: Got, failed: Failed) -> None:
        """The value now, to one of the two; a command is run beside the loop."""
        try:
            if spec.source == "env":
                secret = read_variable(spec)
            elif spec.source == "file":
                secret = read_file(spec)
            else:
                self._run(spec, got, failed)
                return
        except BottleError as problem:
            failed(problem)
            return
        got(secret)

    def add(self, spec: CredentialSpec, secret: Secret, place: Place) -> None:
        """One more that the bottle has; its placeholder is new."""
        prefix = self._order.harness.placeholder_prefix(spec.env)
        self.bound[spec.name] = BoundCredential(spec, new_placeholder(spec, prefix), secret, (place,))
        self._booted.audit.record(events.CREDENTIAL_READ, name=spec.name, source=spec.source)
        if spec.ttl:
            self._refreshers[spec.name] = Refresher(
                self._booted.loop, [self.bound[spec.name]], now(), self._tell, self._booted.audit
            )

    def _tell(self, values: Values) -> None:
        self.refreshed(values)
        if self._booted.gate and self._booted.gate.up:
            self._booted.gate.tell("credentials", values=values)

    def _run(self, spec: CredentialSpec, got: Got, failed: Failed) -> None:
        def answered(code: int, out: bytes, err: bytes) -> None:
            self._commands.discard(command)
            try:
                secret = printed(spec, code, out, err)
            except BottleError as problem:
                failed(problem)
                return
            got(secret)

        try:
            command = HostCommand(self._booted.loop, command_of(spec), answered)
        except OSError as problem:
            raise no_value(spec, str(problem)) from None
        self._commands.add(command)


def find(order: Order, wanted: str) -> CredentialSpec:
    """What the operator offers under this name: the bottle's manifest first, as it was at the launch, then config.json as it
    is now. BottleError when there is none, or when config.json cannot be used."""
    from claude_bottle.manifest.offered import chosen, offered
    from claude_bottle.state.config import Settings

    specs = order.offered.get(wanted) or offered(Settings.load(order.paths).credentials).get(wanted)
    if not specs:
        raise BottleError(f"you offer no credential called {printable(wanted, width=64)}",
                          why="neither the bottle's manifest nor config.json has one",
                          do='put it under "credentials" in config.json, or name another: --credential NAME')  # fmt: skip
    return chosen(specs)
