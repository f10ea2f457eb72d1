"""The egress list of a manifest: from the file's words to the model's rules, presets expanded.

A rule is judged by `model.policy.Rule` alone, asked part by part so that every problem has its own place;
what is added here are words on what to write instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_bottle.manifest import preset_files
from claude_bottle.manifest.problems import suggest
from claude_bottle.manifest.sources import credential
from claude_bottle.manifest.typed import UNSET
from claude_bottle.model import git_grant
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.hosts import reserved_reason
from claude_bottle.model.policy import Rule
from claude_bottle.model.ssh_remote import SshRemote
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Alternatives
    from claude_bottle.manifest.loading import Loaded
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import GitDoc, RuleDoc
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.positions import Path

_HARMLESS = "a.example.com"


@dataclass
class Egress:
    """What an egress list comes to: the rules, and the credentials and variables its presets bring."""

    rules: list[Rule] = field(default_factory=list)
    credentials: dict[str, Alternatives] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    """Where each credential is first asked for by a rule of the file itself."""
    presets: set[str] = field(default_factory=set)
    """The presets taken so far: one named again grants nothing more."""


def expand(docs: list[RuleDoc], path: Path, loaded: Loaded, report: Report, paths: Paths) -> Egress:
    """All rules of a bottle. What is wrong goes to the report and is left out."""
    made = Egress()
    for index, doc in enumerate(docs):
        place = (*path, index)
        if loaded.damaged(place):
            continue
        if doc.preset is not UNSET:
            _take_preset(doc, doc.preset, place, made, report)
        elif doc.host is UNSET:
            report.problem(
                place,
                "neither a host nor a preset",
                'write {"host": "api.example.com"} or {"preset": "pypi"}',
            )
        else:
            found = rule(doc, place, report)
            if found is not None and _reachable(found, (*place, "host"), report, paths):
                made.rules.append(found)
            if doc.credential is not UNSET:
                made.places.setdefault(doc.credential, (*place, "credential"))
    return made


def _take_preset(doc: RuleDoc, name: str, place: Path, made: Egress, report: Report) -> None:
    found = preset_files.preset(name)
    if found is None:
        write = suggest(name, preset_files.names(), f"there are: {', '.join(preset_files.names())}")
        report.problem((*place, "preset"), f'no preset is called "{name}"', write)
        return
    others = [key for key in doc.__struct_fields__ if key != "preset" and getattr(doc, key) is not UNSET]
    if others:
        report.problem(
            place,
            f"a preset stands alone, without {', '.join(others)}",
            "name its hosts yourself to change them",
        )
        return
    if name in made.presets:
        return
    made.presets.add(name)
    for rule_doc in found.egress:
        expanded = rule(rule_doc, place, report, origin=f"preset {found.preset} v{found.version}")
        if expanded is not None and expanded not in made.rules:
            made.rules.append(expanded)
    for key, credential_doc in found.credentials.items():
        specs = credential(key, credential_doc, place, report)
        if specs is not None:
            made.credentials[key] = specs
    made.env |= found.env


def preset_rules(name: str) -> tuple[Rule, ...]:
    """The rules of a preset that ships with us. KeyError for a name that is none."""
    found = preset_files.preset(name)
    if found is None:
        raise KeyError(name)
    return tuple(
        Rule(str(doc.host), 443 if doc.port is UNSET else doc.port, () if doc.methods is UNSET else tuple(doc.methods),
             () if doc.paths is UNSET else tuple(doc.paths), origin=f"preset {found.preset} v{found.version}")
        for doc in found.egress
    )  # fmt: skip


def rule(doc: RuleDoc, path: Path, report: Report, origin: str = "") -> Rule | None:
    """One rule; None (and problems, each at its key) when `Rule` refuses any part of it."""
    host = "" if doc.host is UNSET else doc.host
    port = 443 if doc.port is UNSET else doc.port
    sound = True

    def ask(place: Path, **parts: Any) -> bool:
        try:
            Rule(**parts)
        except ValueError as refused:
            report.problem(place, str(refused))
            return False
        return True

    sound &= ask((*path, "host"), host=host)
    if port != 443:
        sound &= ask((*path, "port"), host=_HARMLESS, port=port)
    values: dict[str, Any] = {"host": host, "port": port, "origin": origin}
    for key, given in (("methods", doc.methods), ("paths", doc.paths)):
        if given is UNSET:
            continue
        if not given:
            report.problem((*path, key), "an empty list grants nothing", f'leave "{key}" out for any, or list them')
            sound = False
        for index, one in enumerate(given):
            sound &= ask((*path, key, index), host=_HARMLESS, **{key: (one,)})
        values[key] = tuple(given)
    values |= {key: getattr(doc, key) for key in ("tls", "credential", "note", "websocket") if getattr(doc, key) is not UNSET}
    if not values.get("note", "").isprintable():
        report.problem((*path, "note"), "a note is one printable line")
        sound = False
    if doc.max_body is not UNSET:
        try:
            values["max_body"] = git_grant.size(doc.max_body)
        except ValueError as refused:
            report.problem((*path, "max_body"), str(refused))
            sound = False
    if doc.git is not UNSET:
        values["git"] = git(doc.git, (*path, "git"), report)
        sound &= values["git"] is not None
    if sound and ask(path, **values):
        return Rule(**values)
    return None


def git(doc: GitDoc, path: Path, report: Report) -> GitGrant | None:
    """A rule's git section; None (and problems, each at its key) when any part of it is refused."""
    sound = True
    for key, given, check in (
        ("repositories", doc.repositories, git_grant.check_repository), ("push", doc.push, git_grant.check_pattern),
    ):  # fmt: skip
        for index, one in enumerate(given):
            try:
                check(one)
            except ValueError as refused:
                report.problem((*path, key, index), str(refused))
                sound = False
    try:
        most = git_grant.MAX_PACK if doc.max_pack is UNSET else git_grant.size(doc.max_pack)
    except ValueError as refused:
        report.problem((*path, "max_pack"), str(refused))
        return None
    try:
        ssh = None if doc.ssh is UNSET else SshRemote(doc.ssh.user, doc.ssh.port, doc.ssh.key, doc.ssh.directory)
    except ValueError as refused:
        report.problem((*path, "ssh"), str(refused))
        return None
    try:
        named = (tuple(doc.repositories), doc.fetch, tuple(doc.push), doc.force, doc.delete)
        return GitGrant(*named, most, doc.sign, ssh) if sound else None
    except ValueError as refused:
        report.problem(path, str(refused))
        return None


def _reachable(found: Rule, place: Path, report: Report, paths: Paths) -> bool:
    """A reserved name grants nothing unless the operator's own settings name that very place
    (`model.policy`), so it is refused here in words."""
    why = reserved_reason(found.host)
    if why is None:
        return True
    from claude_bottle.state.config import Settings

    if (found.host, found.port) in Settings.load(paths).upstreams:
        return True
    report.problem(
        place,
        f"{found.host} cannot be granted: {why}",
        f'name a host of the internet, or map "{found.host}:{found.port}" in upstreams of {paths.config}',
    )
    return False
