"""What the keeper tells a gate before it starts: plain data with nothing left to look up, and never written anywhere.

A gate on this host has it by fork. One that runs elsewhere is sent it as the first line of its control channel
(`to_wire`), which is the only form that holds the secrets in the clear; it goes through a pipe and into no file,
variable or argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_bottle.model.prices import NO_PRICES, Price, Prices
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.model.credentials import BoundCredential
    from claude_bottle.model.policy import Rule

# Authorities are the bulk of it: a system's bundle has a quarter of a megabyte.
MAX_WIRE = 8 << 20


class Upstream(NamedTuple):
    """Where the operator wants one host and port to be dialled. `ca`: the PEM text that server must prove itself
    against, "" for the usual trust."""

    connect_host: str
    connect_port: int
    ca: str = ""


class UpstreamProxy(NamedTuple):
    """The operator's own way out: an HTTP proxy that every dial goes through by CONNECT. `authorization`: what it is sent
    in Proxy-Authorization, "" for nothing."""

    host: str
    port: int
    authorization: str = ""


@dataclass(frozen=True)
class GateConfig:
    """One bottle's gate. `upstreams` maps (canonical host, port) to where the operator wants it to be dialled;
    `extra_ca` is PEM text trusted beside the system's; `nonce` must come with the listeners; `explicit_proxy` False
    closes the proxy port. `egress_bytes` is what this bottle may send in all (None: no bound), `egress_spent` what it has
    sent in earlier runs; `money` and `money_spent` are the same for what it spends, in millionths of a dollar, and `prices`
    what models cost the operator."""

    identity: str
    rules: tuple[Rule, ...]
    credentials: tuple[BoundCredential, ...] = ()
    upstreams: Mapping[tuple[str, int], Upstream] = field(default_factory=dict)
    extra_ca: str = ""
    nonce: str = ""
    explicit_proxy: bool = True
    egress_bytes: int | None = None
    egress_spent: int = 0
    money: int | None = None
    money_spent: int = 0
    prices: Prices = field(default_factory=lambda: NO_PRICES)
    upstream_proxy: UpstreamProxy | None = None
    judges: int | None = None
    """The descriptor of the line to whoever starts judges of pushes. Of one host alone: elsewhere it only says that there is
    one."""

    def to_wire(self) -> bytes:
        """One line with everything, secrets included: for the gate's own control channel and nothing else."""
        import json

        return json.dumps({
            "identity": self.identity,
            "rules": [rule.to_dict() for rule in self.rules],
            "credentials": [
                credential_to_wire(one) for one in self.credentials
            ],
            "upstreams": [[*place, *upstream] for place, upstream in self.upstreams.items()],
            "extra_ca": self.extra_ca,
            "nonce": self.nonce,
            "explicit_proxy": self.explicit_proxy,
            "egress_bytes": self.egress_bytes,
            "egress_spent": self.egress_spent,
            "money": self.money,
            "money_spent": self.money_spent,
            "prices": [[name, *price] for name, price in self.prices.items()],
            "upstream_proxy": list(self.upstream_proxy) if self.upstream_proxy else None,
            "judges": self.judges is not None,
        }).encode() + b"\n"  # fmt: skip

    @staticmethod
    def from_wire(line: bytes) -> GateConfig:
        """The inverse of `to_wire`. ValueError, without any value of it, for what is none."""
        import json

        try:
            said = json.loads(line)
            return _read(said)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("not a gate's configuration") from None


def credential_to_wire(one: BoundCredential) -> dict[str, object]:
    """A credential as the control channel carries it, secret included."""
    return {"spec": one.spec.to_dict(), "placeholder": one.placeholder, "secret": one.secret.reveal(),
            "hosts": [list(place) for place in one.hosts]}  # fmt: skip


def credential_from_wire(one: dict[str, Any]) -> BoundCredential:
    """The inverse. KeyError, TypeError or ValueError for what is none."""
    from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret

    places = tuple((host, port) for host, port in one["hosts"])
    return BoundCredential(CredentialSpec.from_dict(one["spec"]), one["placeholder"], Secret(one["secret"]), places)


def _read(said: dict[str, Any]) -> GateConfig:
    from claude_bottle.model.policy import Rule

    bound = tuple(credential_from_wire(one) for one in said["credentials"])
    upstreams = {(host, port): Upstream(*rest) for host, port, *rest in said["upstreams"]}
    rules = tuple(Rule.from_dict(rule) for rule in said["rules"])
    return GateConfig(said["identity"], rules, bound, upstreams, said["extra_ca"], said["nonce"], said["explicit_proxy"],
                      said["egress_bytes"], said["egress_spent"], said["money"], said["money_spent"],
                      {name: Price(*parts) for name, *parts in said["prices"]},
                      UpstreamProxy(*said["upstream_proxy"]) if said["upstream_proxy"] else None,
                      0 if said["judges"] is True else None)  # fmt: skip
