"""The way out of a build: a gate of its own, forked for it and ended with it.

A build is a bottle without an agent, so what it may reach is judged as for any other: by rules, through the operator's own
upstreams and authorities, without a single credential. Knows no backend; who builds asks for it by `backend.base.Outlet`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from claude_bottle.backend.base import Way
from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper.gate_link import GateLink, Message
from claude_bottle.model import policy
from claude_bottle.redact import printable
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.gate.config import Upstream, UpstreamProxy
    from claude_bottle.keeper.order import Serve
    from claude_bottle.model.policy import Rule

_MOST_REFUSED = 5
_NOT_PLANNED = (policy.HOST_NOT_GRANTED, policy.PORT_NOT_GRANTED, policy.METHOD_NOT_GRANTED, policy.PATH_NOT_GRANTED)


@dataclass(frozen=True)
class BuildOutlet:
    """`upstreams` and `extra_ca` as in `GateConfig`, `roots` the PEM bundle that programs trust beside the gate's own
    authority. `serve` is the gate's main function where it is not the product's."""

    upstreams: Mapping[tuple[str, int], Upstream] = field(default_factory=dict)
    extra_ca: str = ""
    roots: bytes = b""
    serve: Serve | None = None
    upstream_proxy: UpstreamProxy | None = None

    @contextmanager
    def __call__(self, name: str, rules: tuple[Rule, ...]) -> Iterator[Way]:
        nonce = os.urandom(16).hex()
        config = GateConfig(name, rules, (), self.upstreams, self.extra_ca, nonce, upstream_proxy=self.upstream_proxy)
        gate = GateLink(config, self.serve)
        heard: list[Message] = []

        @cache
        def bundle() -> bytes:
            pem = gate.expect("ca").get("pem")
            if not isinstance(pem, str):
                raise BottleError("the gate did not start", why="it made no certificate")
            return self.roots.rstrip(b"\n") + b"\n" + pem.encode()

        def refused() -> tuple[str, ...]:
            heard.extend(gate.messages() if gate.up else [])
            return _refusals(heard)

        try:
            yield Way(gate.registration, nonce, bundle, refused)
        finally:
            gate.end()


def _refusals(messages: list[Message]) -> tuple[str, ...]:
    """What was wanted in vain, each once: hosts that no rule grants, and what went wrong on the way to one."""
    found: dict[str, None] = {}
    for message in messages:
        event = message.get("event")
        data = event.get("data") if isinstance(event, dict) else None
        if not isinstance(data, dict) or not data.get("reason"):
            continue
        place = str(data.get("host") or data.get("name") or "")
        if place.startswith("_"):
            continue  # a service record (RFC 2782), which tools ask for on the way to a name
        said = printable(place, width=120)
        found[f"the build wanted {said}, which its plan does not allow" if data["reason"] in _NOT_PLANNED else
              f"the build did not reach {said}: {printable(str(data['reason']), width=40)}"] = None  # fmt: skip
    return tuple(list(found)[:_MOST_REFUSED])
