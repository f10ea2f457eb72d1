"""Git's work trees in a private workspace: one whose repository lies elsewhere gets one of its own, those inside find theirs.

A linked work tree, or a submodule, has a `.git` file that names a place of this host. In a copy or a layer a repository
with the same objects, branches and index stands there instead. Work trees that lie within the workspace name each other by
paths of this host, which are written anew. Reads the operator's files as `git_source` does, writes into a place of ours.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.harness.base import WORKSPACE


def elsewhere(source: Path) -> bool:
    """Whether the repository of `source`, if it has one, lies elsewhere."""
    return os.path.isfile(source / ".git") and not os.path.islink(source / ".git")


def why_not(source: Path) -> str:
    """Why the repository that lies elsewhere cannot come along, in words; "" if it can."""
    from claude_bottle.backend import git_source

    try:
        git_source.demand_whole(git_source.find(source))
    except BottleError as problem:
        return problem.why or problem.what
    return ""


def wanted(source: Path) -> bool:
    """Whether there is anything to do for a private workspace made of `source`."""
    return (elsewhere(source) and not why_not(source)) or bool(_inner(source))


def _inner(source: Path) -> list[tuple[str, str]]:
    """Those within, as `git_source.inner_work_trees` says, which takes 6 ms to load."""
    if not os.path.isdir(source / ".git" / "worktrees"):
        return []
    from claude_bottle.backend import git_source

    return git_source.inner_work_trees(source)


def settle(source: Path, place: Path, *, layer: bool) -> bool:
    """Do it in `place`, a copy of `source` or, with `layer`, an empty one over it; whether it has a repository of its
    own by that. What a copy left out is not made. BottleError when it could not be done whole."""

    def there(path: str) -> bool:
        return layer or os.path.lexists(place / path)

    made = elsewhere(source) and there(".git") and not why_not(source)
    if made:
        (place / ".git").unlink(missing_ok=True)
        from claude_bottle.backend import clone

        clone.without_files(source, place)
    for name, path in _inner(source):
        if not there(f"{path}/.git") or not there(f".git/worktrees/{name}/gitdir"):
            continue
        up = "../" * (path.count("/") + 1)
        _write(source, place, f"{path}/.git", f"gitdir: {up}.git/worktrees/{name}\n")
        _write(source, place, f".git/worktrees/{name}/gitdir", f"{WORKSPACE}/{path}/.git\n")
    return made


def _write(source: Path, place: Path, path: str, text: str) -> None:
    """A file at `path`, below directories like those of the original."""
    from claude_bottle.backend import tree

    *parents, name = path.split("/")
    with tree.opened(place) as top:
        held = os.dup(top)
        for depth, part in enumerate(parents, start=1):
            mode = stat.S_IMODE(os.lstat(source / "/".join(parents[:depth])).st_mode) & 0o777
            try:
                os.mkdir(part, 0o700, dir_fd=held)
                os.chmod(part, mode | 0o700, dir_fd=held)
            except FileExistsError:
                pass
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            os.close(held)
            held = below
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=held)
            with open(fd, "w") as file:
                file.write(text)
        finally:
            os.close(held)
