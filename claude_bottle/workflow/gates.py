"""What the gate of one launch is told: the plan's rules, the secrets, and the operator's settings with their files read.

The last place that reads certificates from this host: a gate looks nothing up, and one that runs elsewhere could not. It
trusts there what this host trusts, which is sent along.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.gate.config import MAX_WIRE, GateConfig, Upstream, UpstreamProxy
from claude_bottle.model.prices import MICROS
from claude_bottle.state.spent import Spent
from claude_bottle.workflow import roots

if TYPE_CHECKING:
    from claude_bottle.keeper.outlet import BuildOutlet
    from claude_bottle.model.credentials import BoundCredential
    from claude_bottle.model.plan import BottlePlan, Protection
    from claude_bottle.state.config import Settings
    from claude_bottle.state.config import UpstreamProxy as ProxySetting
    from claude_bottle.state.paths import Paths

NOTHING = Spent()


def configure(
    plan: BottlePlan, bound: tuple[BoundCredential, ...], settings: Settings, trusted: bytes | None, *,
    spent: Spent = NOTHING,
) -> GateConfig:
    """`trusted`: the PEM bundle of what this host trusts, for a gate that cannot see it; None for one that runs here.
    `spent`: what this bottle has spent in earlier runs. BottleError for certificates that cannot be read."""
    own = authorities(settings.ca) if settings.ca else ""
    extra = own if trusted is None else _only_certificates(trusted)
    nonce = os.urandom(16).hex()
    limit, usd = plan.budget.get("egress_bytes"), plan.budget.get("usd")
    return GateConfig(plan.slug, plan.egress, bound, _upstreams(settings), extra, nonce, explicit_proxy=True,
                      egress_bytes=limit if isinstance(limit, int) else None, egress_spent=spent.egress_bytes,
                      money=round(usd * MICROS) if isinstance(usd, int | float) else None,
                      money_spent=spent.money, prices=settings.prices,
                      upstream_proxy=settings.upstream_proxy and UpstreamProxy(*settings.upstream_proxy))  # fmt: skip


def through(proxy: ProxySetting) -> Protection:
    """What a plan says of a gate that dials through the operator's proxy."""
    from claude_bottle.model.plan import Protection

    return Protection("addresses", "weaker", f"your proxy {proxy.host}:{proxy.port} resolves the names, and dials them")


def outlet(paths: Paths) -> BuildOutlet:
    """The way out of builds, by the operator's settings. BottleError as from `configure`."""
    from claude_bottle.state.config import Settings

    settings = Settings.load(paths)
    return outlet_of(settings, _upstreams(settings), roots.bundle(settings.ca))


def outlet_of(settings: Settings, upstreams: Mapping[tuple[str, int], Upstream], trusted: bytes) -> BuildOutlet:
    """The same where all of that has been read already."""
    from claude_bottle.keeper.outlet import BuildOutlet

    proxy = settings.upstream_proxy and UpstreamProxy(*settings.upstream_proxy)
    return BuildOutlet(upstreams, authorities(settings.ca) if settings.ca else "", trusted, upstream_proxy=proxy)


def _upstreams(settings: Settings) -> dict[tuple[str, int], Upstream]:
    return {
        place: Upstream(one.connect_host, one.connect_port, authorities(one.ca_file) if one.ca_file else "")
        for place, one in settings.upstreams.items()
    }


def authorities(path: str) -> str:
    """The PEM text of a file. BottleError when it cannot be read or is none."""
    try:
        with open(path, "rb") as file:
            found = file.read(MAX_WIRE // 4).decode("ascii")
    except (OSError, UnicodeError) as problem:
        raise BottleError(f"cannot read the certificates in {path}", why=str(problem), do="correct config.json") from problem
    if "-----BEGIN CERTIFICATE-----" not in found:
        raise BottleError(f"cannot read the certificates in {path}", why="there is none in it, in PEM form",
                          do="correct config.json")  # fmt: skip
    return found


def _only_certificates(bundle: bytes) -> str:
    """Without the comments in which some bundles name each authority, in whatever script."""
    lines, inside = [], False
    for line in bundle.decode("ascii", "replace").splitlines():
        inside = inside or line.startswith("-----BEGIN")
        if inside:
            lines.append(line)
        inside = inside and not line.startswith("-----END")
    return "\n".join(lines) + "\n" if lines else ""
