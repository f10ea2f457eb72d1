"""Where packages come from: what building a capability of each kind reaches, the same in every backend that can say it.

The presets that ship with us, or the operator's own registry in their place. Reads preset files, writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.manifest.egress import preset_rules
from claude_bottle.model.capability import APT, CARGO, GO, NPM, PIP
from claude_bottle.model.policy import Rule

if TYPE_CHECKING:
    from claude_bottle.state.config import Registry

# Before 1.68 cargo reads an index only by git, unless told so, and then only one that takes itself for a nightly (rustc
# does not): 1.65 is Debian 12's. Until 1.70 it reads that of crates.io by git if nothing is said.
CARGO_READS_SPARSE = (
    "export CARGO_REGISTRIES_CRATES_IO_PROTOCOL=sparse && case $(cargo --version) in 'cargo 1.6'[3-7].*) "
    "export CARGO_UNSTABLE_SPARSE_REGISTRY=true __CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS=nightly;; esac"
)
PRESETS = {APT: "debian", PIP: "pypi", NPM: "npm", CARGO: "crates", GO: "go"}


def rules(kind: str, registry: Registry | None) -> tuple[Rule, ...]:
    """What a build of packages of this kind may reach: reading only."""
    if registry is None:
        return preset_rules(PRESETS[kind])
    host, port = registry.place()
    return (Rule(host, port, ("GET", "HEAD"), origin="config.json"),)


def cargo_index(registry: Registry) -> str:
    """As cargo writes it: with a slash at its end, or it is refused."""
    return f"sparse+{registry.url.removesuffix('/')}/"


def places(granted: tuple[Rule, ...]) -> tuple[str, ...]:
    """The hosts of some rules in words, each once."""
    named = (rule.host if rule.port == 443 else f"{rule.host}:{rule.port}" for rule in granted)
    return tuple(dict.fromkeys(named))
