"""What of a live workspace the agent may read and not write: files that the operator's own tools obey or run.

A workspace of mode `bind` is the operator's directory itself, so a hook, an editor task or a setting that lands in it is run
on the host tomorrow. What of this is there at the start, at any depth, is shown read-only; the directories above, and links
that lead to it, are made mount points, which cannot be renamed away. `survey` only looks; what has to be made to be covered
is said in `missing` (see `keeper.live_work`). `hold` works in a mount namespace of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend import git_obeys
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.git_obeys import GIT
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

READ_ONLY, PINNED, LINK, PRIVATE = "read-only", "pinned", "link", "private"
# Settings and hooks of agents, editors and their containers; scripts that run when one enters or commits.
_DIRECTORIES = frozenset({".claude", ".codex", ".cursor", ".gemini", ".vscode", ".idea", ".zed", ".devcontainer", ".githooks",
                          ".husky", ".circleci", ".buildkite"})  # fmt: skip
_FILES = frozenset({
    ".mcp.json", ".envrc", ".devcontainer.json", ".pre-commit-config.yaml", ".gitlab-ci.yml", ".travis.yml", ".cirrus.yml",
    ".woodpecker.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml", "Jenkinsfile", "claude-bottle.json",
})  # fmt: skip
_BELOW = {".github": ("workflows", "actions"), ".gitea": ("workflows",), ".forgejo": ("workflows",)}
_OF_LINKS = _DIRECTORIES | _FILES | frozenset(_BELOW)
# What is held at the top where it is missing: what tools of the host load of themselves. Directories, then files.
ABSENT_DIRECTORIES = (GIT, ".claude", ".codex", ".cursor", ".gemini", ".vscode", ".idea", ".devcontainer")
ABSENT_FILES = (".mcp.json", ".envrc")
# Installed packages bring their authors' settings along, hundreds of them, which no tool of the host opens there.
INSTALLED = frozenset({"node_modules", "site-packages", "dist-packages"})
MOST, _MOST_LOOKED_AT, _DEEPEST, _MOST_LINKS = 1000, 4_000_000, 64, 40
_PRIVATE_MODES = 'say "workspace": {"mode": "overlay"} or "clone"'


@dataclass(frozen=True)
class Guard:
    """One path below the workspace. PRIVATE is covered by the host's `source`."""

    path: str
    kind: str
    source: Path | None = None


class Survey(NamedTuple):
    """What is to be guarded. `missing`: what git would obey and is not there, with what may stand in its place."""

    workspace: Path
    held: set[str]
    links: set[str]
    missing: dict[str, bytes | None]

    def guards(self) -> tuple[Guard, ...]:
        """What is there, what lies above before what lies below."""
        return guards(self.held, self.links)


def find(workspace: Path) -> tuple[Guard, ...]:
    """What is there to be guarded. BottleError as `survey`."""
    return survey(workspace).guards()


def guards(held: Iterable[str], links: Iterable[str]) -> tuple[Guard, ...]:
    kinds = {**dict.fromkeys(links, LINK), **dict.fromkeys(held, READ_ONLY)}
    above = {str(parent) for path in kinds for parent in PurePosixPath(path).parents} - {".", *kinds}
    kinds |= dict.fromkeys(above, PINNED)
    return in_order(Guard(path, kind) for path, kind in kinds.items())


def in_order(some: Iterable[Guard]) -> tuple[Guard, ...]:
    """As they have to be put in force."""
    return tuple(sorted(some, key=lambda guard: (guard.path.count("/"), guard.path)))


def survey(workspace: Path) -> Survey:
    """BottleError when it is too much, or cannot be guarded."""
    found = Survey(Path(os.path.realpath(workspace)), set(), set(), {})
    pending, looked_at = [("", False)], 0
    while pending:
        below, installed = pending.pop()
        try:
            with os.scandir(found.workspace / below) as entries:
                inside = list(entries)
        except (PermissionError, FileNotFoundError, NotADirectoryError):
            continue
        looked_at += len(inside)
        if looked_at > _MOST_LOOKED_AT or below.count("/") > _DEEPEST:
            raise BottleError(f"{workspace} is too large to be shown as it is", why="hooks and settings are looked for in it",
                              do=_PRIVATE_MODES)  # fmt: skip
        if git_obeys.is_bare({entry.name for entry in inside}):
            _repository(found, below, {})  # what stood in it would be taken for the project's
        for entry in inside:
            path = f"{below}/{entry.name}" if below else entry.name
            directory = entry.is_dir(follow_symlinks=False)
            if entry.name == GIT:
                _of_git(found, path, directory=directory)
            elif not installed and entry.name in _names_of(entry, directory=directory):
                _take(found, path)
            elif directory:
                for name in () if installed else _BELOW.get(entry.name, ()):
                    _take(found, f"{path}/{name}")
                pending.append((path, installed or entry.name in INSTALLED))
        if len(found.held) + len(found.links) > MOST:
            raise BottleError(f"too many files in {workspace} need protection", why=f"more than {MOST} hooks and settings",
                              do=_PRIVATE_MODES)  # fmt: skip
    return found


def _names_of(entry: os.DirEntry[str], *, directory: bool) -> frozenset[str]:
    """A link may lead to either."""
    return _OF_LINKS if entry.is_symlink() else _DIRECTORIES if directory else _FILES


def _of_git(found: Survey, path: str, *, directory: bool) -> None:
    """A `.git`: the repository, or a file or link that says where it lies, which may be in the workspace, too."""
    if directory:
        _repository(found, path, git_obeys.HOLDS)
        return
    where = _take(found, path)
    if where is None:
        return
    at = found.workspace / where
    if at.is_dir():
        found.held.discard(where)
        _repository(found, where, git_obeys.HOLDS)
    elif (to := git_obeys.leads_to(at)) is not None and (inside := _inside(found, to)) and not _is_kept(inside):
        _repository(found, inside, git_obeys.HOLDS)


def _is_kept(path: str) -> bool:
    """By the repository that keeps it, which is found itself."""
    return any(f"/{GIT}/{kind}/" in f"/{path}" for kind in git_obeys.KINDS)


def _repository(found: Survey, path: str, holds: dict[str, bytes | None]) -> None:
    """What git obeys of a repository and of the repositories it keeps for submodules and other work trees."""
    _obeyed(found, path, holds)
    for kind, kept in git_obeys.kept(found.workspace, path):
        theirs = git_obeys.HOLDS if kind == git_obeys.MODULES else git_obeys.HOLDS_OF_WORK_TREES
        _obeyed(found, kept, theirs if holds else {})


def _obeyed(found: Survey, path: str, holds: dict[str, bytes | None]) -> None:
    at = f"{path}/" if path else ""
    for name in git_obeys.OBEYED:
        if _take(found, f"{at}{name}") is None and name in holds and not os.path.lexists(found.workspace / at / name):
            found.missing[f"{at}{name}"] = holds[name]
    own = PurePosixPath(path)
    work = found.workspace / own.parent if own.name == GIT else None
    for place, content in git_obeys.named(found.workspace / path, work).items():
        _take_named(found, place, content)


def _take_named(found: Survey, place: Path, content: bytes | None) -> None:
    """What a repository's settings name: guarded where it is in the workspace, its place held where it is to come."""
    path = _inside(found, place)
    if not path or _is_kept(path):
        return
    if os.path.lexists(found.workspace / path):
        _take(found, path)
        return
    there = PurePosixPath(path)
    while not os.path.lexists(found.workspace / there.parent):
        there = there.parent
    if all(str(parent) not in found.held for parent in there.parents):
        found.missing[str(there)] = content if str(there) == path else None


def _inside(found: Survey, place: Path) -> str:
    """Its path below the workspace, "" for any other place."""
    path = os.path.relpath(os.path.normpath(found.workspace / place), found.workspace)
    return "" if path == "." or path.split("/")[0] == ".." else path


def _take(found: Survey, path: str) -> str | None:
    """Have what stands at `path` guarded, every link that leads there pinned; where that lies in the workspace, if it does
    and can be guarded. BottleError for a link to a place that is still free."""
    rest, at, links = deque(path.split("/")), list[str](), 0
    while rest:
        name = rest.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            if not at:
                return None
            at.pop()
            continue
        at.append(name)
        here = "/".join(at)
        try:
            mode = os.lstat(found.workspace / here).st_mode
        except OSError:
            if links:
                raise _to_nothing(found, path) from None
            return None
        if stat.S_ISLNK(mode):
            found.links.add(here)
            at.pop()
            links += 1
            leads = os.readlink(found.workspace / here)
            if os.path.isabs(leads):
                leads, at = _inside(found, Path(leads)), []
                if not leads:
                    return None
            if links > _MOST_LINKS:
                raise _to_nothing(found, path)
            rest.extendleft(reversed(leads.split("/")))
    if not at:
        raise _to_nothing(found, path)
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        found.held.add("/".join(at))
        return "/".join(at)
    return None


def _to_nothing(found: Survey, path: str) -> BottleError:
    return BottleError(f"cannot protect {printable(path)} in {found.workspace}", why="a link to nothing that can be held",
                       do=f"remove it, or {_PRIVATE_MODES}")  # fmt: skip


def hold(workspace: int, guards: Sequence[Guard], private: Callable[[Path], int]) -> None:
    """Put the guards in force on the mounted directory `workspace` (a descriptor), in this mount namespace. `private` opens a
    host directory or file as a detached mount. Refused when something else stands at one of the paths by now."""
    for guard in guards:
        parent, _, name = guard.path.rpartition("/")
        held = opened = -1
        try:
            held = ns.open_beneath(parent or ".", directory=workspace)
            opened = _link(name, held) if guard.kind == LINK else ns.open_beneath(name, directory=held)
            mount = private(guard.source) if guard.source is not None else ns.open_tree(opened)
            try:
                if guard.kind == READ_ONLY:
                    ns.read_only_tree(mount)
                elif guard.kind == LINK:
                    ns.confine_tree(mount)  # else bwrap would do so by its path, and change the mount that the link leads to
                ns.move_mount(mount, held, name)
            finally:
                os.close(mount)
        except OSError as failure:
            raise _lost(guard, failure) from None
        finally:
            for fd in (held, opened):
                if fd >= 0:
                    os.close(fd)


def _link(name: str, directory: int) -> int:
    opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if not stat.S_ISLNK(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return opened


def _lost(guard: Guard, failure: OSError) -> BottleError:
    what = f"cannot protect {printable(guard.path)} in the workspace"
    if failure.errno in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
        return Refused(what, why="it was replaced while the bottle was started", do="start it again")
    return EnvironmentLacks(what, why=os.strerror(failure.errno or 0), do='say "workspace": {"mode": "overlay"}')
