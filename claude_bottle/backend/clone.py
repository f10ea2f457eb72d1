"""A git clone as a bottle's workspace: a repository of our own making with the objects and refs of the operator's.

The objects' files are copied, not linked: git never changes one, but whoever owns it can. The config is written anew and
takes only what has a meaning in a bottle: remotes that can be reached from there, without credentials; the author. What is
not committed comes along when asked for, read from the operator's files with a git whose repository is ours.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from claude_bottle.backend import git_source, tree
from claude_bottle.backend.git_safely import git, settings
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath, plain_parts

UNCOMMITTED, UNTRACKED = "uncommitted", "untracked"
_REMOTE = re.compile(r"remote\.([A-Za-z0-9][A-Za-z0-9._-]{0,99})\.url")
_BRANCH = re.compile(r"branch\.([A-Za-z0-9][A-Za-z0-9._/-]{0,199})\.(remote|merge)")
# A place on a network; a path on this host would be of no use inside, and says who the operator is.
_URL = re.compile(r"(https?|ssh|git)://(?:[^/@\s]*@)?([A-Za-z0-9][^\s\x00-\x20@]*)")
_SCP = re.compile(r"(?:([A-Za-z0-9._-]+)@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!/?/)[^\s\x00-\x20:]+")
_MOST_NESTED = 4


def into(source: Path, workspace: Path, branch: str, include: tuple[str, ...]) -> str:
    """Clone the repository of `source` into the empty directory `workspace`, at its HEAD, on a new branch; with what
    `include` names beyond what is committed. The commit it begins at, "" for a repository that has none yet. BottleError
    when it cannot be cloned whole, Refused for one that leads elsewhere."""
    return _clone(git_source.find(source), workspace, branch, None, include, 0)


def without_files(source: Path, target: Path) -> None:
    """A repository in `target` with all that the one of the work tree `source` has, its branch and its index; the files are
    there or come by themselves. Errors as of `into`."""
    found = git_source.find(source)
    told = settings(git_source.config(found))
    repository = _make(target, told)
    _take_objects(found, repository)
    refs, at, index = git_source.refs(found), git_source.head(found), git_source.index(found)
    _take_refs(repository, refs, git_source.shallow(found))
    _configure(repository, told)
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "exclude").write_bytes(git_source.excluded(found))
    (repository / "HEAD").write_text(f"ref: {at}\n" if at.startswith("refs/") else f"{at}\n")
    if index is not None:
        (repository / "index").write_bytes(index[0])
        os.utime(repository / "index", ns=(index[1], index[1]))
    elif refs.get(at, at):
        git(repository, "read-tree", refs.get(at, at))


def _clone(
    found: git_source.GitSource, target: Path, branch: str, commit: str | None, include: tuple[str, ...], depth: int
) -> str:
    told = settings(git_source.config(found))
    repository = _make(target, told)
    _take_objects(found, repository)
    refs, at = git_source.refs(found), git_source.head(found)
    commit = commit or refs.get(at, "" if at.startswith("refs/") else at)
    _take_refs(repository, refs, git_source.shallow(found))
    _configure(repository, told)
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "exclude").write_bytes(git_source.excluded(found))
    if not commit:
        git(repository, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    elif branch:
        git(repository, "checkout", "-q", "-f", "-b", branch, commit, "--", work=target)
    else:
        git(repository, "checkout", "-q", "-f", "--detach", commit, "--", work=target)
    if commit and depth < _MOST_NESTED:
        _take_submodules(found, repository, target, include, depth)
    if include:
        _take_uncommitted(found, repository, target, commit, include)
    return commit


def _make(target: Path, told: dict[str, list[str]]) -> Path:
    if told.get("extensions.refstorage", ["files"])[-1:] != ["files"]:
        raise BottleError("this kind of git repository cannot be cloned yet", why="its refs are in a reftable",
                          do='say "mode": "copy"')  # fmt: skip
    form = told.get("extensions.objectformat", ["sha1"])[-1]
    if form not in ("sha1", "sha256"):
        raise BottleError("this kind of git repository is not known", why=f"objects by {form[:20]}")
    repository = target / ".git"
    git(repository, "init", "-q", "--template=", f"--object-format={form}", "-b", "main")
    return repository


def _take_objects(found: git_source.GitSource, repository: Path) -> None:
    copy = tree.Copy()
    for name, reading in git_source.objects(found):
        place = repository / "objects" / name
        try:
            place.parent.mkdir(exist_ok=True)
            with tree.opened(place.parent) as directory:
                copy.pour(reading, directory, place.name)
        finally:
            os.close(reading)


def _take_refs(repository: Path, refs: dict[str, str], shallow: list[str]) -> None:
    if shallow:
        (repository / "shallow").write_text("".join(f"{one}\n" for one in shallow))
    lines = b"".join(f"create {name}\0{what}\0".encode("utf-8", "surrogateescape") for name, what in sorted(refs.items()))
    if lines:
        git(repository, "update-ref", "-z", "--stdin", input=lines)
        git(repository, "pack-refs", "--all")


def _configure(repository: Path, told: dict[str, list[str]]) -> None:
    """What of the original's config means something inside."""
    kept: list[tuple[str, str]] = []
    for name, values in told.items():
        remote, url = _REMOTE.fullmatch(name), reachable(values[-1])
        if remote and url:
            kept += [(name, url), (f"remote.{remote[1]}.fetch", f"+refs/heads/*:refs/remotes/{remote[1]}/*")]
        elif _BRANCH.fullmatch(name) or name in ("user.name", "user.email", "core.autocrlf", "core.eol"):
            kept.append((name, values[-1]))
    for name, value in kept:
        git(repository, "config", "--", name, value)


def reachable(url: str) -> str:
    """A remote's address without whatever is a credential; "" for one that is of no use, or no good, in a bottle."""
    if named := _URL.fullmatch(url):
        # Over ssh the user is part of the address (git@…), a password is not.
        user = re.match(r"ssh://([A-Za-z0-9._-]+)(?::[^/@]*)?@", url)
        return f"{named[1]}://{user[1] + '@' if user else ''}{named[2]}"
    return url if _SCP.fullmatch(url) else ""


def _take_submodules(
    found: git_source.GitSource, repository: Path, target: Path, include: tuple[str, ...], depth: int
) -> None:
    """Those that the original has checked out, each as a clone of its own at the commit that is recorded for it."""
    modules = _modules(target)
    for entry in git(repository, "ls-files", "-z", "--stage").split(b"\0"):
        about, _, path = os.fsdecode(entry).partition("\t")
        kind, commit, *_ = about.split() if about else ("", "")
        if kind != "160000" or path not in modules:
            continue
        try:
            plain_parts(path)
            inner = git_source.find(found.work / path)
            with tree.opened(target) as top:
                os.close(make_dirs_beneath(top, path))
        except (BottleError, OSError, ValueError):
            continue  # not checked out: an empty directory, as git leaves it
        if inner.own != inner.work / ".git" and not inner.own.is_relative_to(Path(os.path.realpath(found.shared))):
            continue
        _clone(inner, target / path, "", commit, include, depth + 1)
        name, url = modules[path]
        if url:
            git(repository, "config", "--", f"submodule.{name}.url", url)
            git(repository, "config", "--", f"submodule.{name}.active", "true")


def _modules(target: Path) -> dict[str, tuple[str, str]]:
    """path → (name, address) of what `.gitmodules` says, where both make sense."""
    with tree.opened(target) as top:
        try:
            fd = open_beneath(top, ".gitmodules")
        except OSError:
            return {}
    with open(fd, "rb") as file:
        told = settings(file.read(1 << 20))
    found = {}
    for key, values in told.items():
        name = key.removeprefix("submodule.").removesuffix(".path")
        if key == f"submodule.{name}.path" and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", name) and ".." not in name:
            url = reachable(told.get(f"submodule.{name}.url", [""])[-1])
            found[values[-1]] = name, url
    return found


def _take_uncommitted(
    found: git_source.GitSource, repository: Path, target: Path, commit: str, include: tuple[str, ...]
) -> None:
    """Bring the files that differ from the commit, those that git does not know, or both."""
    copied = repository / "index.original"
    index = git_source.index(found)
    try:
        if index is not None:
            copied.write_bytes(index[0])
            os.utime(copied, ns=(index[1], index[1]))
        using = copied if index is not None else None
        paths: set[str] = set()
        if UNCOMMITTED in include and commit:
            paths |= _split(git(repository, "diff-index", "-z", "--name-only", "--no-renames", "--no-ext-diff",
                                "--ignore-submodules=all", commit, "--", work=found.work, index=using))  # fmt: skip
        elif UNCOMMITTED in include and index is not None:
            paths |= _split(git(repository, "ls-files", "-z", work=found.work, index=using))
        if UNTRACKED in include:
            rules = ignore.read(str(found.work))
            others = git(repository, "ls-files", "-z", "--others", "--exclude-standard", work=found.work, index=using)
            paths |= {path for path in _split(others) if not path.endswith("/") and not rules.ignores(path)}
    finally:
        copied.unlink(missing_ok=True)
    _bring(found.work, target, paths)


def _split(said: bytes) -> set[str]:
    return {os.fsdecode(path) for path in said.split(b"\0") if path}


def _bring(source: Path, target: Path, paths: set[str]) -> None:
    """Make `target` have at each of these paths what `source` has there, or nothing."""
    copy = tree.Copy(fresh=False)
    with tree.opened(source) as reading, tree.opened(target) as writing:
        for path in sorted(paths):
            *parents, name = plain_parts(path)
            if any(part.lower() == ".git" for part in (*parents, name)):
                raise BottleError("an index names files of git's own", why=path)
            _bring_one(reading, writing, "/".join(parents), name, copy)
    copy.demand_all()


def _bring_one(reading: int, writing: int, parents: str, name: str, copy: tree.Copy) -> None:
    held = place = -1
    try:
        place = make_dirs_beneath(writing, parents)
    except OSError:
        return  # something else stands in the way: what git would call a conflict of a file and a directory
    try:
        held = open_beneath(reading, parents, os.O_RDONLY | os.O_DIRECTORY) if parents else os.dup(reading)
        if stat.S_ISDIR(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
            raise NotADirectoryError  # a file has become a directory: what is in it is named by itself
        copy.one(held, place, name, f"{parents}/{name}" if parents else name)
    except (FileNotFoundError, NotADirectoryError):
        copy.clear(place, name)
    finally:
        for fd in (held, place):
            if fd >= 0:
                os.close(fd)
