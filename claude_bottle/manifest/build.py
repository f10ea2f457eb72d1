"""From a typed document to bottles and agents: one file at a time, everything wrong with it into its report.

Nothing outside the file is touched; what the other manifest defines comes in as `Known`. Values are judged by
the modules that enforce them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.manifest import image, mounts
from claude_bottle.manifest.bottle import Agent, Alternatives, Bottle, Image, Limits
from claude_bottle.manifest.egress import Egress, expand
from claude_bottle.manifest.problems import suggest
from claude_bottle.manifest.sources import credential, reserved_variable
from claude_bottle.manifest.typed import UNSET
from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.matching import conflicts
from claude_bottle.model.names import AGENT_RE, check_agent_name
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.manifest.loading import Loaded
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import AgentDoc, BottleDoc
    from claude_bottle.model.capability import Capability
    from claude_bottle.model.plan import Mount
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.positions import Path


@dataclass(frozen=True)
class Known:
    """What the home manifest offers to a project's: credential names by bottle. Empty for the home
    manifest itself."""

    bottles: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass
class Built:
    """What one file defines."""

    bottles: dict[str, Bottle] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)


def build(loaded: Loaded, report: Report, paths: Paths, origin: str, known: Known) -> Built:
    """The bottles and agents of one file; `origin` is "home" or "project"."""
    made = Built()
    for name, doc in loaded.doc.bottles.items():
        path: Path = ("bottles", name)
        if _named(name, "bottle", path, report):
            made.bottles[name] = _Bottle(name, doc, path, loaded, report, paths).build(origin, known)
    defined = loaded.data.get("bottles")
    names = {*(defined if isinstance(defined, dict) else ()), *known.bottles}
    for name, agent_doc in loaded.doc.agents.items():
        path = ("agents", name)
        if _named(name, "agent", path, report):
            _check_agent(agent_doc, path, names, loaded, report)
            made.agents[name] = Agent(
                name,
                agent_doc.bottle,
                agent_doc.harness,
                agent_doc.model,
                agent_doc.prompt,
                tuple(agent_doc.args),
                origin,
                report.file.parent,
                tuple(agent_doc.skills),
            )
    return made


def _named(name: str, kind: str, path: Path, report: Report) -> bool:
    try:
        check_agent_name(name)
    except BottleError as refused:
        report.problem(path, f"not a name for {'an agent' if kind == 'agent' else 'a bottle'}", refused.why, key=True)
        return False
    return True


@dataclass
class _Bottle:
    """One bottle being built."""

    name: str
    doc: BottleDoc
    path: Path
    loaded: Loaded
    report: Report
    paths: Paths

    def build(self, origin: str, known: Known) -> Bottle:
        egress = expand(self.doc.egress, (*self.path, "egress"), self.loaded, self.report, self.paths)
        for words in conflicts(egress.rules):
            self.report.problem((*self.path, "egress"), words)
        credentials = self._credentials(egress, known.bottles.get(self.name, frozenset()))
        env = egress.env | self._env(credentials)
        workspace = "none" if self.doc.workspace is UNSET else self.doc.workspace.mode
        return Bottle(
            self.name,
            self.doc.backend,
            workspace,
            tuple(egress.rules),
            credentials,
            env,
            self._mounts(),
            self.doc.proxy_env,
            origin,
            self._image(),
            Limits() if self.doc.limits is UNSET else image.limits(self.doc.limits, (*self.path, "limits"), self.report),
            self._capabilities(),
            None if self.doc.budget is UNSET else image.egress_bytes(self.doc.budget, (*self.path, "budget"), self.report),
            self._include(),
            0 if self.doc.checkpoints is UNSET else self.doc.checkpoints.keep,
            None if self.doc.budget is UNSET else image.usd(self.doc.budget, (*self.path, "budget"), self.report),
        )

    def _include(self) -> tuple[str, ...]:
        doc = self.doc.workspace
        if doc is UNSET or doc.include is UNSET:
            return ()
        if doc.mode != "clone":
            self.report.problem((*self.path, "workspace", "include"), f"a {doc.mode} has no choice of what it includes",
                                'remove it, or say "mode": "clone"', key=True)  # fmt: skip
        return tuple(sorted(set(doc.include)))

    def _credentials(self, egress: Egress, inherited: frozenset[str]) -> dict[str, Alternatives]:
        path = (*self.path, "credentials")
        made = dict(egress.credentials)
        for name, doc in self.doc.credentials.items():
            if self.loaded.damaged((*path, name)):
                continue
            specs = credential(name, doc, (*path, name), self.report)
            if specs is not None:
                made[name] = specs
        for name, place in egress.places.items():
            if name not in made and name not in inherited and not self.loaded.has("bottles", self.name, "credentials", name):
                self._undefined(name, place, [*made, *inherited])
        bound = {rule.credential for rule in egress.rules} | set(egress.places)
        for name in self.doc.credentials:
            if name not in bound:
                self.report.warn((*path, name), "no rule uses this credential, so the bottle does not get it")
        self._check_variables(made, path)
        self._warn_about_open_paths(egress)
        return made

    def _undefined(self, name: str, place: Path, there: list[str]) -> None:
        write = suggest(name, there, f'define it: "credentials": {{"{name}": {{"from": …}}}}')
        self.report.problem(place, f'this bottle has no credential "{name}"', write)

    def _check_variables(self, made: Mapping[str, Alternatives], path: Path) -> None:
        owners: dict[str, str] = {}
        for name, specs in made.items():
            for spec in specs:
                other = owners.setdefault(spec.env, name)
                if other != name:
                    self.report.problem(
                        (*path, name),
                        f'"{other}" and "{name}" both fill the variable {spec.env}',
                        "give them different variables, or use one of them",
                    )

    def _warn_about_open_paths(self, egress: Egress) -> None:
        for rule in egress.rules:
            if rule.credential and not rule.paths and not rule.origin and not rule.git:
                self.report.warn(
                    (*self.path, "egress"),
                    f"{rule.host} with the credential {rule.credential} "
                    "on every path: that may include account and key endpoints; name the paths",
                )

    def _env(self, credentials: Mapping[str, Alternatives]) -> dict[str, str]:
        path = (*self.path, "env")
        filled = {spec.env: name for name, specs in credentials.items() for spec in specs}
        for name, value in self.doc.env.items():
            why = reserved_variable(name)
            if not _is_variable(name):
                self.report.problem((*path, name), "not the name of a variable", "letters, digits and _", key=True)
            elif why is not None:
                self.report.problem((*path, name), why, "remove it", key=True)
            elif name in filled:
                self.report.problem(
                    (*path, name),
                    f'the credential "{filled[name]}" fills this variable',
                    "remove one",
                    key=True,
                )
            if "\0" in value:
                self.report.problem((*path, name), "a variable cannot hold a NUL character")
        return dict(self.doc.env)

    def _image(self) -> Image | None:
        path = (*self.path, "image")
        if self.doc.image is UNSET or self.loaded.damaged(path):
            return None
        return image.image(self.doc.image, path, self.report)

    def _capabilities(self) -> tuple[Capability, ...]:
        if not self.doc.capabilities:
            return ()  # what judges them is loaded where there are some
        from claude_bottle.manifest.capabilities import capabilities

        return capabilities(self.doc.capabilities, (*self.path, "capabilities"), self.loaded, self.report)

    def _mounts(self) -> tuple[Mount, ...]:
        path = (*self.path, "mounts")
        made = []
        for index, doc in enumerate(self.doc.mounts):
            if not self.loaded.damaged((*path, index)):
                found = mounts.check(doc, (*path, index), self.report, self.paths)
                if found is not None:
                    made.append(found)
        if (why := mounts.overlaps(made)) is not None:
            self.report.problem(path, why, "give each its own target")
        return tuple(made)


def _is_variable(name: str) -> bool:
    try:
        CredentialSpec("x", "env", name, "X", "x-key")
    except ValueError:
        return False
    return True


def _check_agent(doc: AgentDoc, path: Path, bottles: set[str], loaded: Loaded, report: Report) -> None:
    if doc.bottle not in bottles and not loaded.damaged((*path, "bottle")):
        report.problem(
            (*path, "bottle"),
            f'there is no bottle "{doc.bottle}"',
            suggest(doc.bottle, bottles, f"there are: {', '.join(sorted(bottles)) or 'none'}"),
        )
    # Which harnesses there are is known above this layer; here it only has to be a name.
    if not AGENT_RE.fullmatch(doc.harness):
        report.problem((*path, "harness"), "not a harness's name", "for example claude or shell")
    if doc.model.startswith("-") or not doc.model.isprintable():
        report.problem((*path, "model"), "not a model's name", "for example sonnet")
    if (why := doc.prompt and _not_below(doc.prompt)):
        report.problem((*path, "prompt"), why, "a file beside the manifest, like prompts/reviewer.md")
    names = [skill.rpartition("/")[2] for skill in doc.skills]
    for index, skill in enumerate(doc.skills):
        why = _not_below(skill) or ("" if AGENT_RE.fullmatch(names[index]) else "its last part is not a skill's name")
        if why or names.index(names[index]) < index:
            report.problem((*path, "skills", index), why or "there is another skill of this name",
                           "a directory beside the manifest, like skills/review")  # fmt: skip
    for index, word in enumerate(doc.args):
        if "\0" in word:
            report.problem((*path, "args", index), "an argument cannot hold a NUL character")


def _not_below(name: str) -> str:
    """Why this is no plain path below the manifest's directory; "" for one that is."""
    if not name or not name.isprintable() or FilePath(name).is_absolute() or name.startswith("~"):
        return "not a relative path"
    return "not a plain path (no .., no double slash)" if {"", ".", ".."} & set(name.split("/")) else ""
