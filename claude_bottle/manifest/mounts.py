"""Mounts of a manifest: which host paths may be shown in a bottle, and where.

`check` judges the words alone when a manifest is loaded. `check_on_host` looks at the disk, when a bottle is
about to be used; the backend then opens the source once more, component by component, because what was true
here may change. Nothing is opened but directories' names, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from itertools import pairwise
from pathlib import Path as HostPath
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.manifest.reading import operator_home
from claude_bottle.manifest.sources import host_path
from claude_bottle.model.plan import Mount
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import MountDoc
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.positions import Path

# /run is refused because it is where sockets of engines, agents and session buses live.
_NEVER_SHOWN = ("/proc", "/sys", "/dev", "/run", "/var/run")
# Places a bottle is built of: neither these nor anything below may be covered.
_NEVER_COVERED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/sys",
                  "/dev", "/run", "/var/run", "/workspace", "/.init", "/opt/claude-bottle")  # fmt: skip
# Below these a mount may lie, but it may not be one of them.
_NEVER_EXACTLY = ("/", "/home", "/home/agent", "/home/agent/.claude", "/tmp", "/var", "/opt")
_KEEPS_SECRETS = (".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".claude", ".netrc", ".config/gh",
                  ".config/gcloud", ".password-store")  # fmt: skip


def check(doc: MountDoc, path: Path, report: Report, paths: Paths) -> Mount | None:
    """The mount, or None (and problems) when its words are refused."""
    source = host_path(doc.source)
    if source is None:
        report.problem((*path, "source"), "not an absolute or ~/ path", "write it whole, without variables and ..")
    elif (why := _source_refusal(source, paths)) is not None:
        report.problem((*path, "source"), f"{source} is never shown in a bottle: {why}", "mount a directory of its own")
        source = None
    why_not = _target_refusal(doc.target)
    if why_not is not None:
        report.problem((*path, "target"), why_not, "for example /opt/toolchain or /srv/data")
    if source is None or why_not is not None:
        return None
    for name in _KEEPS_SECRETS:
        secret = str(operator_home() / name)
        if _within(source, secret) or _within(secret, source):
            report.warn((*path, "source"), f"{source} shows the bottle your {secret}")
    return Mount(source, doc.target, doc.mode)


def overlaps(mounts: list[Mount]) -> str | None:
    """What is wrong with a set of mounts, as a phrase: two of them at one place, or one within another."""
    # With a slash at the end, what lies in a directory comes right after it: "-" sorts before "/".
    targets = sorted(f"{mount.target}/" for mount in mounts)
    for one, other in pairwise(targets):
        if _within(other, one):
            return f"{one[:-1]} and {other[:-1]} lie in each other"
    return None


def check_on_host(mount: Mount) -> None:
    """BottleError when the source is missing, reached through a link, or neither a directory nor a regular
    file."""
    shown = printable(mount.source)
    here = HostPath("/")
    found = os.lstat(here)
    for part in HostPath(mount.source).parts[1:]:
        here = here / part
        try:
            found = os.lstat(here)
        except OSError as problem:
            raise BottleError(
                f"cannot mount {shown}",
                why=f"{here}: {os.strerror(problem.errno or 0)}",
                do="make it, or correct the manifest",
            ) from problem
        if stat.S_ISLNK(found.st_mode):
            raise BottleError(
                f"cannot mount {shown}",
                why=f"{printable(str(here))} is a link",
                do=f"write the real path: {printable(os.path.realpath(mount.source))}",
            )
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise BottleError(f"cannot mount {shown}", why="it is neither a directory nor a regular file")


def _source_refusal(source: str, paths: Paths) -> str | None:
    for never in _NEVER_SHOWN:
        if _within(source, never):
            return f"{never} is the host's own"
    home = str(operator_home())
    for root, words in (
        (home, "it holds your whole home"),
        (os.path.realpath(home), "it holds your whole home"),
    ):
        if _within(root, source):
            return words
    for root in (str(paths.root), os.path.realpath(paths.root), str(paths.tools)):
        if _within(source, root) or _within(root, source):
            return "claude-bottle keeps its own state there"
    return "it is the whole file system" if source == "/" else None


def _target_refusal(target: str) -> str | None:
    if not target.startswith("/") or not target.isprintable() or target.startswith("//"):
        return "not an absolute path"
    if os.path.normpath(target) != target:
        return "not a plain path (no .., no double or trailing slash)"
    for never in _NEVER_COVERED:
        if _within(target, never):
            return f"{never} in a bottle cannot be covered"
    return f"{target} itself cannot be covered" if target in _NEVER_EXACTLY else None


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
