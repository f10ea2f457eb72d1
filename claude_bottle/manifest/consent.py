"""What a project's manifest grants beyond the operator's own, and whether the operator has agreed to it.

Nothing is asked here: the answer is data, which the workflow shows and acts on. Consent is bound to the
file's path and content, and to the grants in words, so that a grant which grew by another way (a newer
preset, a home bottle gone) is shown again too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import Refused
from claude_bottle.manifest.words import grants
from claude_bottle.redact import printable
from claude_bottle.state.trust import Trust
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Agent, Bottle
    from claude_bottle.manifest.reading import Source
    from claude_bottle.state.paths import Paths


@dataclass(frozen=True)
class Consent:
    """A consent that is still missing: for which file and content, for which grants (in words, sanitised),
    and what was consented to before at this path (None: never)."""

    path: Path
    sha256: str
    grants: tuple[str, ...]
    previous: tuple[str, ...] | None = None

    @property
    def added(self) -> tuple[str, ...]:
        """Grants that were not agreed to before."""
        return tuple(line for line in self.grants if line not in (self.previous or ()))

    @property
    def removed(self) -> tuple[str, ...]:
        """Grants that were agreed to before and are gone."""
        return tuple(line for line in self.previous or () if line not in self.grants)

    def to_dict(self) -> dict[str, object]:
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "grants": list(self.grants),
            "previous": None if self.previous is None else list(self.previous),
            "added": list(self.added),
            "removed": list(self.removed),
        }

    def refusal(self) -> Refused:
        """The error for going on without it (exit 3)."""
        changed = "changed since you trusted it and grants" if self.previous is not None else "grants"
        lines = self.grants if self.previous is None else (
            *(f"+ {line}" for line in self.added), *(f"- {line}" for line in self.removed))  # fmt: skip
        return Refused(
            f"{printable(str(self.path))} is not trusted",
            why="\n".join([f"this manifest {changed}:", *(lines or self.grants)]),
            do="read it, then: claude-bottle trust",
        )


def consent(
    source: Source, project: Mapping[str, Bottle], home: Mapping[str, Bottle], moved: list[str], paths: Paths
) -> Consent | None:
    """The consent a project's manifest still needs. `project` and `home` are the bottles each file
    defines, `moved` what its agents grant. None when it grants nothing, or the operator has agreed to this
    content and these grants."""
    wanted = [line for name, bottle in sorted(project.items()) if name not in home for line in grants(bottle)]
    wanted += moved
    if not wanted:
        return None
    before = Trust(paths).previous(source.path)
    if before is not None and before.sha256 == source.sha256 and set(wanted) <= set(before.grants):
        return None
    return Consent(source.path, source.sha256, tuple(wanted), None if before is None else before.grants)


def moved_agents(project: Mapping[str, Agent], home: Mapping[str, Agent]) -> list[str]:
    """Agents of the operator's that a project would put into another bottle, in words."""
    return [
        f"agent {name}: run in the bottle {printable(agent.bottle)} instead of {home[name].bottle}"
        for name, agent in sorted(project.items())
        if name in home and home[name].bottle != agent.bottle
    ]
