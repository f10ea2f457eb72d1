"""An operator's git repository as data: where it lies, its refs, its objects' files. No git is ever run in it.

A repository can carry what git executes (hooks, `fsmonitor`, filters, helpers in its config) and what leads elsewhere
(links, alternates, a `.git` file), and a directory one works in may be anybody's. So only plain files of known names are
read, below open directories and through no link, and a `.git` file counts only if the repository that it names points back.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from claude_bottle.backend.git_safely import settings
from claude_bottle.errors import BottleError, Refused
from claude_bottle.redact import printable
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to
from claude_bottle.values import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_TEXT, _REFS, _INDEX = 64 << 10, 64 << 20, 256 << 20
_MOST_REFS, _MOST_DEPTH = 200_000, 32
_FAN = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-(?:[0-9a-f]{40}|[0-9a-f]{64})\.(?:pack|idx|rev|bitmap)")
_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_KEPT = ("refs/heads/", "refs/tags/", "refs/remotes/")


@dataclass(frozen=True)
class GitSource:
    """A repository. `work` is its directory of files, `own` what is this work tree's alone (HEAD, index), `shared` what all
    of its work trees have (objects, refs, config): both are the same but for a linked work tree."""

    work: Path
    own: Path
    shared: Path


def find(work: Path) -> GitSource:
    """The repository whose top directory is `work`. BottleError when there is none, Refused for one that is not its own."""
    at = work / ".git"
    try:
        kind = os.lstat(at).st_mode
    except FileNotFoundError:
        raise BottleError(f"{work} is no git repository", why="a clone begins at a repository's top directory",
                          do='start there, or say "mode": "copy"') from None  # fmt: skip
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        raise _elsewhere(work, ".git is a link")
    own = at if stat.S_ISDIR(kind) else _named(work, at)
    if own != at and not _points_back(own, at, work):
        raise _elsewhere(work, f"{printable(str(own))} does not know it")
    return GitSource(work, own, _shared(work, own))


def _elsewhere(work: Path, why: str) -> Refused:
    return Refused(f"the git repository of {work} lies elsewhere", why=why, do='say "mode": "copy", which does without it')


def _named(work: Path, at: Path) -> Path:
    text = _read(work, ".git", _TEXT) or b""
    if not text.startswith(b"gitdir: "):
        raise _elsewhere(work, ".git is no directory and names none")
    return Path(os.path.realpath(work / os.fsdecode(text[8:].rstrip(b"\r\n"))))


def _shared(work: Path, own: Path) -> Path:
    """Where its objects are: in itself, or in a repository that has it among its work trees."""
    text = _read(own, "commondir", _TEXT)
    if text is None:
        return own
    shared = Path(os.path.realpath(own / os.fsdecode(text.rstrip(b"\r\n"))))
    if shared != Path(os.path.realpath(own)) and own.parent != shared / "worktrees":
        raise _elsewhere(work, f"{printable(str(shared))} does not know it")
    return shared


def _points_back(own: Path, at: Path, work: Path) -> bool:
    """Whether a repository elsewhere says that `work` is its work tree: nobody but its owner can have it say that."""
    back = _read(own, "gitdir", _TEXT)
    if back is not None:
        return os.path.realpath(own / os.fsdecode(back.rstrip(b"\r\n"))) == os.path.realpath(at)
    told = settings(_read(own, "config", _TEXT) or b"").get("core.worktree", [])
    return len(told) == 1 and os.path.realpath(own / told[0]) == os.path.realpath(work)


def config(source: GitSource) -> bytes:
    return _read(source.shared, "config", _TEXT) or b""


def index(source: GitSource) -> tuple[bytes, int] | None:
    """The index of the work tree and its time (in ns), None where it has none. By its time git tells that a file of the
    same second may have changed since."""
    fd = _open(source.own, "index", os.O_RDONLY)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        changed, data = os.fstat(fd).st_mtime_ns, file.read(_INDEX + 1)
    if len(data) > _INDEX:
        raise BottleError(f"the index of {source.work} is too large", why=f"more than {_INDEX} bytes")
    return data, changed


def excluded(source: GitSource) -> bytes:
    return _read(source.shared, "info/exclude", _TEXT) or b""


def shallow(source: GitSource) -> list[str]:
    """Where its history is cut off."""
    return _ids(_read(source.shared, "shallow", _REFS) or b"")


def head(source: GitSource) -> str:
    """What HEAD says: the name of a ref, or an object's id."""
    text = (_read(source.own, "HEAD", _TEXT) or b"").decode("utf-8", "replace").strip()
    name = text.removeprefix("ref:").strip()
    if not (name.startswith("refs/heads/") if text.startswith("ref:") else _ID.fullmatch(name)):
        raise BottleError(f"the HEAD of {source.work} cannot be read", why=printable(text, width=60))
    return name


def stashed(source: GitSource) -> bytes | None:
    """The newest stash, None where there is none."""
    return _read(source.shared, "refs/stash", _TEXT)


def refs(source: GitSource) -> dict[str, str]:
    """Branches, tags and remote branches with the ids they stand for; a loose one wins over a packed one."""
    found = {}
    for line in (_read(source.shared, "packed-refs", _REFS) or b"").decode("utf-8", "surrogateescape").splitlines():
        what, _, name = line.partition(" ")
        if _ID.fullmatch(what) and name.startswith(_KEPT):
            found[name] = what
    for kind in _KEPT:
        for name, fd in _below(source.shared, kind.rstrip("/"), 0):
            with open(fd, "rb") as file:
                what = file.read(_TEXT).decode("utf-8", "replace").strip()
            if _ID.fullmatch(what):
                found[name] = what
    if len(found) > _MOST_REFS:
        raise BottleError(f"too many refs in {source.work}", why=f"{len(found)}; at most {_MOST_REFS}")
    return found


def demand_whole(source: GitSource) -> None:
    """Refused for a repository that does not hold all of its objects itself."""
    for name in ("alternates", "http-alternates"):
        if _read(source.shared, f"objects/info/{name}", _TEXT):
            raise Refused(f"the git repository of {source.work} takes objects from another one",
                          why=f".git/objects/info/{name}", do="git repack -a -d, then remove that file")  # fmt: skip
    if any(name.endswith(".promisor") for name in _names(source.shared, "objects/pack")):
        raise Refused(f"{source.work} is a partial clone", why="it does not hold all of its objects",
                      do='git fetch --refetch --no-filter, or say "mode": "copy"')  # fmt: skip


def inner_work_trees(work: Path) -> list[tuple[str, str]]:
    """(name, path) of the linked work trees that lie within the work tree `work`, whose repository is its own, and which the
    repository knows as they know it."""
    found = []
    for name in _names(work / ".git", "worktrees") if not os.path.islink(work / ".git") else ():
        back = os.fsdecode(_read(work / ".git", f"worktrees/{name}/gitdir", _TEXT) or b"").rstrip("\r\n")
        path = os.path.relpath(back, work).removesuffix("/.git") if os.path.isabs(back) else ""
        try:
            there = _read(work, f"{path}/.git", _TEXT) if path and not path.startswith("..") else None
        except ValueError:
            continue
        if there == b"gitdir: " + os.fsencode(work / ".git" / "worktrees" / name) + b"\n":
            found.append((name, path))
    return found


def objects(source: GitSource) -> Iterator[tuple[str, int]]:
    """(name below `objects/`, descriptor) of every file that holds objects; the caller closes it. Refused as by
    `demand_whole`."""
    demand_whole(source)
    for directory in _names(source.shared, "objects"):
        pattern = _LOOSE if _FAN.fullmatch(directory) else _PACK if directory == "pack" else None
        for name in _names(source.shared, f"objects/{directory}") if pattern else ():
            if pattern and pattern.fullmatch(name):
                fd = _open(source.shared, f"objects/{directory}/{name}", os.O_RDONLY)
                if fd is not None:
                    yield f"{directory}/{name}", fd


def _ids(data: bytes) -> list[str]:
    return [line for line in data.decode("ascii", "replace").split() if _ID.fullmatch(line)]


def _below(directory: Path, path: str, depth: int) -> Iterator[tuple[str, int]]:
    """(path, descriptor) of the plain files below."""
    for name in _names(directory, path) if depth < _MOST_DEPTH else ():
        here = f"{path}/{name}"
        fd = _open(directory, here, os.O_RDONLY)
        if fd is not None:
            yield here, fd
        else:
            yield from _below(directory, here, depth + 1)


def _names(directory: Path, path: str) -> list[str]:
    fd = _open(directory, path, _DIRECTORY)
    if fd is None:
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def _read(directory: Path, path: str, limit: int) -> bytes | None:
    """A plain file's bytes; None when there is none. BottleError when it is larger."""
    fd = _open(directory, path, os.O_RDONLY)
    if fd is None:
        return None
    try:
        data = read_up_to(fd, limit)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise BottleError(f"{path} of {directory} is too large", why=f"more than {limit} bytes")
    return data


def _open(directory: Path, path: str, flags: int) -> int | None:
    """A plain file (or, with O_DIRECTORY, a directory) reached through no link; None for anything else."""
    try:
        top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fd = open_beneath(top, path, flags)
    except (OSError, ValueError):
        return None
    finally:
        os.close(top)
    if flags & os.O_DIRECTORY or stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
