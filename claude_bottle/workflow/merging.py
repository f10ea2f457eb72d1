"""Grants for an agent, as a patch to the operator's manifest: proposed, shown as a diff, applied when the operator says so.

The file that defines the agent's bottle is edited in place, every other byte kept; where both the home's and the project's
define it, both are, since the project's narrows the home's. What is written is exactly what was shown: a file that has
changed since is refused. A project's manifest that was trusted stays so, bound to its new content; one that was not still
asks. Nothing is written before the whole new manifest has been judged.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claude_bottle import log
from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError, Refused
from claude_bottle.manifest import Manifest
from claude_bottle.manifest.patch import patched
from claude_bottle.manifest.reading import MAX_BYTES, Source
from claude_bottle.model.changes import Change, CredentialChange, stored
from claude_bottle.model.names import check_identity
from claude_bottle.model.requests import AGENT
from claude_bottle.redact import printable
from claude_bottle.state.config import Settings
from claude_bottle.state.files import read_up_to, write_atomic_at
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.state.trust import Trust
from claude_bottle.values import dataclass
from claude_bottle.workflow.granted import granted
from claude_bottle.workflow.terminal import ask

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Patch:
    """One file: what it holds, and what it would."""

    path: Path
    before: bytes
    after: bytes

    @property
    def sha256(self) -> str:
        return sha256(self.after).hexdigest()

    @property
    def diff(self) -> list[str]:
        """As a unified diff, each line printable."""
        before, after = (text.decode().split("\n") for text in (self.before, self.after))
        name = str(self.path)
        return [printable(line) for line in difflib.unified_diff(before, after, name, f"{name} (new)", lineterm="")]


@dataclass(frozen=True)
class Proposal:
    """What would become of the manifest of one bottle's agent. No patches: it has everything already. `trust`: the consent
    to record for a project's file that is trusted now, as (path, hash, grants in words)."""

    identity: str
    patches: tuple[Patch, ...]
    trust: tuple[Path, str, tuple[str, ...]] | None = None

    @property
    def diff(self) -> list[str]:
        return [line for patch in self.patches for line in patch.diff]


def propose(identity: str, grants: Sequence[str] = (), paths: Paths | None = None) -> Proposal:
    """For the grants of scope `agent` of this bottle, running or kept, or for those named, whatever their scope. BottleError
    when there are none, or no manifest that could take them."""
    paths = paths or Paths.default()
    record = Store(paths).load(check_identity(identity))
    views = _wanted(paths, identity, grants)
    now = Manifest.resolve(record.cwd or Path.cwd(), paths=paths)
    bottle = now.agent(record.agent).bottle
    changes = [stored(view["change"]) for view in views]
    patches = []
    for source in now.sources:
        said = json.loads(source.data)
        if bottle in said.get("bottles", {}):
            definitions = _definitions(paths, views, changes, said["bottles"][bottle])
            after = patched(source.data.decode(), bottle, changes, definitions).encode()
            if after != source.data:
                patches.append(Patch(source.path, source.data, after))
    return Proposal(identity, tuple(patches), _consent(now, patches, paths))


def merge(proposal: Proposal, paths: Paths | None = None) -> None:
    """Write what was proposed. Refused when a file is not what was shown any more; nothing is written then."""
    paths = paths or Paths.default()
    for patch in proposal.patches:
        _write(patch, dry=True)
    for patch in proposal.patches:
        _write(patch)
    if proposal.trust:
        Trust(paths).remember(*proposal.trust)


def show_and_merge(identity: str, grants: Sequence[str], *, yes: bool = False, paths: Paths | None = None) -> int:
    """The verb `manifest merge`: the diff, a question, the files. Refused (exit 3) without a yes."""
    proposal = propose(identity, grants, paths)
    if not proposal.patches:
        log.say("the manifest grants all of it already")
        return 0
    print("\n".join(proposal.diff), flush=True)
    if not yes and not ask("write this? [y/N] "):
        raise Refused("nothing was written", why="you did not say yes")
    merge(proposal, paths)
    for patch in proposal.patches:
        log.say(f"wrote {patch.path}")
    return 0


def _wanted(paths: Paths, identity: str, grants: Sequence[str]) -> list[dict[str, Any]]:
    views = [view for one, view in granted(paths, identity) if one == identity and not view["ended"]]
    found = [view for view in views if (view["id"] in grants if grants else view["scope"] == AGENT)]
    missing = sorted(set(grants) - {view["id"] for view in found})
    if missing or not found:
        named = f"no grant {printable(', '.join(missing), width=60)} of {identity}"
        what = named if missing else f"{identity} has no grant for its agent"
        raise BottleError(what, why="only grants of the scope `agent` are merged, or those that are named",
                          do=f"claude-bottle grants {identity}")  # fmt: skip
    return found


def _definitions(
    paths: Paths, views: Sequence[Mapping[str, Any]], changes: Sequence[Change], bottle: Mapping[str, Any]
) -> dict[str, object]:
    """Where the credentials that were granted come from: of the bottle's own, or of the operator's settings."""
    offered = {**Settings.load(paths).credentials, **(bottle.get("credentials") or {})}
    wanted = [
        (change.name, str(view.get("credential") or change.name))
        for view, change in zip(views, changes, strict=True)
        if isinstance(change, CredentialChange)
    ]
    return {name: offered[source] for name, source in wanted if source in offered}


def _consent(now: Manifest, patches: Sequence[Patch], paths: Paths) -> tuple[Path, str, tuple[str, ...]] | None:
    """Judge the manifest as it would be (ManifestProblems), and say what trust goes over to it."""
    after = {patch.path: patch.after for patch in patches}
    sources = [Source(source.kind, source.path, after.get(source.path, source.data)) for source in now.sources]
    then = Manifest.of(sources, paths=paths)
    if now.consent is not None or then.consent is None:
        return None
    return then.consent.path, then.consent.sha256, then.consent.grants


def _write(patch: Patch, *, dry: bool = False) -> None:
    """In place of the file that was shown, with its mode and owner; through no link, whoever writes beside us."""
    directory = fd = -1
    try:
        directory = os.open(patch.path.parent, _DIRECTORY)
        if os.readlink(f"/proc/self/fd/{directory}") != str(patch.path.parent):
            raise _changed(patch)
        fd = os.open(patch.path.name, _FILE, dir_fd=directory)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or read_up_to(fd, MAX_BYTES) != patch.before:
            raise _changed(patch)
        if dry:
            return
        write_atomic_at(directory, patch.path.name, patch.after, stat.S_IMODE(found.st_mode))
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
            os.chown(patch.path.name, found.st_uid, found.st_gid, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        raise _changed(patch) from None
    except OSError as problem:
        raise BottleError(f"cannot write {printable(str(patch.path))}", why=os.strerror(problem.errno or 0)) from problem
    finally:
        for opened in (fd, directory):
            if opened >= 0:
                os.close(opened)


def _changed(patch: Patch) -> Refused:
    return Refused(f"{printable(str(patch.path))} is not what was shown", why="it has been changed meanwhile",
                   do="look at the difference again: claude-bottle manifest diff")  # fmt: skip
