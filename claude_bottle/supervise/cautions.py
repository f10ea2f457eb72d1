"""What deserves a second look in a request, one sentence each. Warnings only: what may never be granted cannot be asked for.

Pure: everything around the request comes in as `Surroundings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.changes import CapabilityChange, Change, CredentialChange
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.redact import printable
from claude_bottle.supervise.composition import USUAL_PORTS, new_ports, rules_of
from claude_bottle.supervise.lookalikes import looks_like, shown
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Surroundings:
    """The bottle that asks, as it is now: the revision of its policy, all its rules, the ports that have a listener, where
    the operator's settings lead some places, the (host, port) pairs each credential is bound to, and the conflicts that
    keep a change from being approved."""

    revision: int = 1
    rules: tuple[Rule, ...] = ()
    ports: tuple[int, ...] = ()
    upstreams: Mapping[tuple[str, int], str] = field(default_factory=dict)
    bound: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


def cautions(change: Change, around: Surroundings) -> list[str]:
    """All of them, the same for the same request and surroundings; [] for nothing remarkable."""
    found: list[str] = []
    known = tuple(dict.fromkeys(rule.host for rule in around.rules))
    for rule in rules_of(change):
        found += _of_host(rule.host, known) + _of_rule(rule, around)
    if isinstance(change, CredentialChange):
        found += _of_credential(change, around)
    if isinstance(change, CapabilityChange):
        found += _of_tool(change)
    ports = new_ports(rules_of(change), (*around.ports, *USUAL_PORTS))
    found += [f"a new port: {port} is opened in the bottle" for port in ports]
    return list(dict.fromkeys(printable(words) for words in found))


def _of_host(host: str, known: tuple[str, ...]) -> list[str]:
    found = []
    if any(label.startswith("xn--") for label in host.split(".")):
        found.append(f"international name: {host} is drawn as {'.'.join(map(shown, host.split('.')))}")
    if other := looks_like(host, known):
        found.append(f"{host} looks like {other}, and is another host")
    return found


def _of_rule(rule: Rule, around: Surroundings) -> list[str]:
    where = f"{rule.host}:{rule.port}"
    found = []
    if rule.tls == TUNNEL:
        found.append(f"tunnel: what goes to {where} is not inspected")
    elif not rule.paths and not rule.methods:
        found.append(f"wide: any method and any path of {where}")
    elif not rule.paths:
        found.append(f"wide: any path of {where}")
    if rule.tls != TUNNEL and rule.methods and not set(rule.methods) <= _READING:
        found.append(f"it may write to {where}: {', '.join(sorted(set(rule.methods) - _READING))}")
    if rule.port == 80:
        found.append(f"{where} is plain HTTP: others on the way can read and change it")
    if led := around.upstreams.get((rule.host, rule.port)):
        found.append(f"your config.json leads {where} to {led}")
    return found


def _of_credential(change: CredentialChange, around: Surroundings) -> list[str]:
    place = (change.rule.host, change.rule.port)
    before = around.bound.get(change.name, ())
    if place in before:
        return []
    if not before:
        return [f"the credential {change.name} is new to this bottle; it goes to {place[0]}:{place[1]}"]
    had = ", ".join(f"{host}:{port}" for host, port in before)
    return [f"the credential {change.name} goes to a new host, {place[0]}:{place[1]} (so far only to {had})"]


def _of_tool(change: CapabilityChange) -> list[str]:
    wanted = change.capability
    if not wanted.fragment:
        return []
    found = ["its steps run while the image is built: read every line"]
    return [*found, "its steps reach the network"] if wanted.network else found
