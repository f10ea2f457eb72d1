"""The manifest a command works with: the home's and the project's, loaded, checked and merged.

Both files are judged whole before anything is merged, so every problem of both comes at once. A project may
add bottles (which needs consent), use the home's, and narrow them; it never widens one. Nothing is asked and
nothing is written here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.manifest import reading
from claude_bottle.manifest.bottle import Agent, Bottle
from claude_bottle.manifest.consent import Consent
from claude_bottle.manifest.reading import Source
from claude_bottle.model.names import check_agent_name
from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.manifest.build import Built, Known
    from claude_bottle.manifest.problems import Report


@dataclass(frozen=True)
class Manifest:
    """Bottles and agents by name, presets expanded. `consent` is what the operator must still agree to before
    anything of this manifest is started (None: nothing); `warnings` are for people."""

    bottles: Mapping[str, Bottle]
    agents: Mapping[str, Agent]
    sources: tuple[Source, ...] = ()
    warnings: tuple[str, ...] = ()
    consent: Consent | None = field(default=None)

    @classmethod
    def resolve(cls, cwd: Path | str, *, paths: Paths | None = None) -> Manifest:
        """The manifest for someone who stands in `cwd`. ManifestProblems with all that is wrong;
        BottleError when there is no manifest or it cannot be read."""
        where = paths or Paths.default()
        here = Path(os.path.abspath(cwd))
        home = reading.find_home(where)
        project = reading.find_project(here, home)
        if home is None and project is None:
            raise _nothing_found(here, where)
        return _assemble(
            reading.read_home(home) if home else None,
            reading.read_project(project) if project else None,
            where,
        )

    @classmethod
    def load_file(cls, path: Path | str, *, paths: Paths | None = None) -> Manifest:
        """One file alone, judged as a project's. Errors as for `resolve`."""
        return _assemble(None, reading.read_project(Path(os.path.abspath(path))), paths or Paths.default())

    @classmethod
    def of(cls, sources: Sequence[Source], *, paths: Paths | None = None) -> Manifest:
        """The manifest in these contents, at most one of each kind: what `resolve` would give if the files held them."""
        kinds = {source.kind: source for source in sources}
        return _assemble(kinds.get("home"), kinds.get("project"), paths or Paths.default())

    def agent(self, name: str) -> Agent:
        """The agent called `name`. UsageError for what is no name; BottleError, listing the known, for an
        unknown."""
        found = self.agents.get(check_agent_name(name))
        if found is None:
            known = ", ".join(sorted(self.agents)) or "none"
            files = " and ".join(printable(str(source.path)) for source in self.sources)
            raise BottleError(
                f"unknown agent {name!r}",
                why=f"known agents: {known}",
                do=f"choose one of them, or add it to {files}",
            )
        return found

    def to_dict(self) -> dict[str, object]:
        """A manifest that says the same without presets and defaults: loading it gives the same bottles
        and agents."""
        return {
            "version": 1,
            "bottles": {name: bottle.to_dict() for name, bottle in sorted(self.bottles.items())},
            "agents": {name: agent.to_dict() for name, agent in sorted(self.agents.items())},
        }


def _assemble(home: Source | None, project: Source | None, paths: Paths) -> Manifest:
    from claude_bottle.manifest.build import Built, Known
    from claude_bottle.manifest.problems import ManifestProblems

    mine, theirs, known = Built(), Built(), Known()
    problems, warnings = [], []
    for source in (home, project):
        if source is None:
            continue
        built, offered, report = _build(source, paths, known)
        problems += report.problems()
        warnings += report.warnings
        if source is home:
            mine, known = built, offered
        else:
            theirs = built
    if problems:
        raise ManifestProblems(problems)
    return _merge(mine, theirs, [source for source in (home, project) if source is not None], warnings, paths)


def _build(source: Source, paths: Paths, known: Known) -> tuple[Built, Known, Report]:
    """What one file defines, and what it offers to the next one."""
    from claude_bottle.manifest.build import Built, Known, build
    from claude_bottle.manifest.loading import load
    from claude_bottle.manifest.problems import Enough, Report

    report = Report(source.path)
    try:
        loaded = load(source.data, report)
        if loaded is None:
            return Built(), known, report
        built = build(loaded, report, paths, source.kind, known)
    except Enough:
        return Built(), known, report
    offered = Known({name: frozenset(bottle.credentials) for name, bottle in built.bottles.items()})
    return built, offered, report


def _merge(home: Built, project: Built, sources: list[Source], warnings: list[str], paths: Paths) -> Manifest:
    from claude_bottle.manifest.compare import narrow
    from claude_bottle.manifest.consent import consent, moved_agents

    bottles = {**project.bottles, **home.bottles}
    for name in sorted(home.bottles.keys() & project.bottles.keys()):
        bottles[name], left_out = narrow(home.bottles[name], project.bottles[name])
        warnings += [f"bottle {name}: left out, since your home manifest does not grant it: {line}" for line in left_out]
    missing = None
    if sources[-1].kind == "project":
        missing = consent(sources[-1], project.bottles, home.bottles, moved_agents(project.agents, home.agents), paths)
    return Manifest(bottles, {**home.agents, **project.agents}, tuple(sources), tuple(warnings), missing)


def _nothing_found(cwd: Path, paths: Paths) -> BottleError:
    places = [*reading.search_path(cwd), paths.root, reading.operator_home()]
    return BottleError(
        "no manifest found",
        why="looked for claude-bottle.json in " + ", ".join(dict.fromkeys(printable(str(place)) for place in places)),
        do="claude-bottle init",
    )
