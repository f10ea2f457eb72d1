"""What of a live workspace the agent may read and not write: files that the operator's own tools obey or run.

A workspace of mode `bind` is the operator's directory itself, so a hook, an editor task or a setting that lands in it is run
on the host tomorrow. What of this is there at the start, at any depth, is shown read-only; the directories above are made
mount points, which cannot be renamed away. What is not there at the top is held by a place of the bottle's own: `.claude`
made by an agent is private to it. `find` only looks, through no link; `hold` works in a mount namespace of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from claude_bottle.backend import namespaces as ns
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

READ_ONLY, PINNED, PRIVATE = "read-only", "pinned", "private"
GIT = ".git"
# Settings and hooks of agents, editors and their containers; scripts that run when one enters or commits.
_DIRECTORIES = frozenset({".claude", ".codex", ".cursor", ".gemini", ".vscode", ".idea", ".zed", ".devcontainer", ".githooks",
                          ".husky", ".circleci", ".buildkite"})  # fmt: skip
_FILES = frozenset({
    ".mcp.json", ".envrc", ".devcontainer.json", ".pre-commit-config.yaml", ".gitlab-ci.yml", ".travis.yml", ".cirrus.yml",
    ".woodpecker.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml", "Jenkinsfile", "claude-bottle.json",
})  # fmt: skip
_BELOW = {".github": ("workflows", "actions"), ".gitea": ("workflows",), ".forgejo": ("workflows",)}
_OF_GIT = ("hooks", "config", "config.worktree", "commondir", "gitdir", "info/attributes")
# What is held at the top where it is missing: what tools of the host load of themselves. Directories, then files.
ABSENT_DIRECTORIES = (GIT, ".claude", ".cursor", ".vscode", ".idea", ".devcontainer")
ABSENT_FILES = (".mcp.json", ".envrc")
# Installed packages bring their authors' settings along, hundreds of them, which no tool of the host opens there.
_INSTALLED = frozenset({"node_modules", "site-packages", "dist-packages"})
MOST, _MOST_LOOKED_AT, _DEEPEST = 500, 4_000_000, 64


@dataclass(frozen=True)
class Guard:
    """One path below the workspace. PRIVATE is covered by the host's `source`."""

    path: str
    kind: str
    source: Path | None = None


def find(workspace: Path) -> tuple[Guard, ...]:
    """What is there to be guarded, what lies above before what lies below. BottleError when it is too much."""
    held: set[str] = set()
    for path in _protected(workspace):
        held.add(path)
        if len(held) > MOST:
            raise BottleError(f"too many files in {workspace} need protection", why=f"more than {MOST} hooks and settings",
                              do='say "workspace": {"mode": "overlay"} or "clone"')  # fmt: skip
    above = {str(parent) for path in held for parent in PurePosixPath(path).parents} - {".", *held}
    found = [*(Guard(path, READ_ONLY) for path in held), *(Guard(path, PINNED) for path in above)]
    return tuple(sorted(found, key=lambda guard: (guard.path.count("/"), guard.path)))


def _protected(workspace: Path) -> Iterator[str]:
    pending, looked_at = [("", False)], 0
    while pending:
        below, installed = pending.pop()
        try:
            with os.scandir(workspace / below) as entries:
                found = list(entries)
        except (PermissionError, FileNotFoundError, NotADirectoryError):
            continue
        looked_at += len(found)
        if looked_at > _MOST_LOOKED_AT or below.count("/") > _DEEPEST:
            raise BottleError(f"{workspace} is too large to be shown as it is", why="hooks and settings are looked for in it",
                              do='say "workspace": {"mode": "overlay"} or "clone"')  # fmt: skip
        for entry in found:
            path = f"{below}/{entry.name}" if below else entry.name
            directory = entry.is_dir(follow_symlinks=False)
            if entry.name == GIT and directory:
                yield from _of_git(workspace, path, 0)
            elif entry.name == GIT or (not installed and entry.name in (_DIRECTORIES if directory else _FILES)):
                yield from _if_plain(workspace, path)
            elif directory:
                for name in () if installed else _BELOW.get(entry.name, ()):
                    yield from _if_plain(workspace, f"{path}/{name}")
                pending.append((path, installed or entry.name in _INSTALLED))


def _of_git(workspace: Path, path: str, depth: int) -> Iterator[str]:
    """What git obeys of a repository and of the repositories it keeps for submodules and other work trees."""
    for name in _OF_GIT:
        yield from _if_plain(workspace, f"{path}/{name}")
    for kind in ("modules", "worktrees"):
        yield from _kept(workspace, f"{path}/{kind}", depth)


def _kept(workspace: Path, place: str, depth: int) -> Iterator[str]:
    """A submodule's name may hold slashes: a directory with a HEAD is a repository, any other leads to some."""
    names = _names(workspace / place) if depth < _DEEPEST else []
    for name in names:
        inner = f"{place}/{name}"
        if os.path.lexists(workspace / inner / "HEAD"):
            yield from _of_git(workspace, inner, depth + 1)
        else:
            yield from _kept(workspace, inner, depth + 1)


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _if_plain(workspace: Path, path: str) -> Iterator[str]:
    try:
        mode = os.lstat(workspace / path).st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        yield path


def hold(workspace: int, guards: Sequence[Guard], private: Callable[[Path], int]) -> None:
    """Put the guards in force on the mounted directory `workspace` (a descriptor), in this mount namespace. `private` opens a
    host directory or file as a detached mount. Refused when something else stands at one of the paths by now."""
    for guard in guards:
        parent, _, name = guard.path.rpartition("/")
        held = opened = -1
        try:
            held = ns.open_beneath(parent or ".", directory=workspace)
            opened = ns.open_beneath(name, directory=held)
            mount = private(guard.source) if guard.source is not None else ns.open_tree(opened)
            try:
                if guard.kind == READ_ONLY:
                    ns.read_only_tree(mount)
                ns.move_mount(mount, held, name)
            finally:
                os.close(mount)
        except OSError as failure:
            raise _lost(guard, failure) from None
        finally:
            for fd in (held, opened):
                if fd >= 0:
                    os.close(fd)


def _lost(guard: Guard, failure: OSError) -> BottleError:
    what = f"cannot protect {printable(guard.path)} in the workspace"
    if failure.errno in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
        return Refused(what, why="it was replaced while the bottle was started", do="start it again")
    return EnvironmentLacks(what, why=os.strerror(failure.errno or 0), do='say "workspace": {"mode": "overlay"}')
