"""Carries changes into the operator's tree: what `landing` decided, one path at a time, each whole or not at all.

Every name is reached by open directories from the top, no link followed in any component, so nothing outside the tree is
written whatever stands there. A file is written beside its place and renamed; before that the place is looked at once more,
and what has changed in between is a conflict. Set-id bits, owners, times and attributes are left behind.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from claude_bottle.state.beneath import make_dirs_beneath, open_beneath
from claude_bottle.state.files import write_all
from claude_bottle.workspace import sparse
from claude_bottle.workspace.directory import Directory, opened
from claude_bottle.workspace.landing import CONFLICT, LEFT, MERGE, SAME, TAKE, Step, seen
from claude_bottle.workspace.work import DIRECTORY, FILE, LINK, Work

KEEP, MARK, REPLACE = "keep", "mark", "replace"
APPLIED, MERGED, MARKED, REFUSED = "applied", "merged", "marked", "refused"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SEARCH = os.O_RDONLY | os.O_DIRECTORY


class Outcome(NamedTuple):
    """What became of one step. `done`: APPLIED, MERGED, MARKED, SAME, CONFLICT, LEFT, or REFUSED for the
    triggers named in `why`."""

    path: str
    done: str
    why: str = ""


def apply(
    work: Work, host: Directory, steps: Sequence[Step], *,
    allowed: frozenset[str], on_conflict: str = KEEP, dry_run: bool = False,
) -> list[Outcome]:  # fmt: skip
    """Do the steps; what each came to, in their order. A step with a trigger that is not in `allowed` is refused."""
    outcomes = {}
    # What goes makes way, from the inside out; what comes needs its directory first.
    going = [step for step in steps if step.change.after is None]
    for step in (*reversed(going), *(step for step in steps if step.change.after is not None)):
        outcomes[step.change.path] = _one(work, host, step, allowed, on_conflict, dry_run)
    return [outcomes[step.change.path] for step in steps]


def refused(step: Step, allowed: Iterable[str]) -> list[str]:
    """The triggers of a step that still need a word."""
    return [trigger.name for trigger in step.triggers if trigger.name not in set(allowed)]


def _one(work: Work, host: Directory, step: Step, allowed: frozenset[str], on_conflict: str, dry_run: bool) -> Outcome:
    path = step.change.path
    if step.action in (SAME, LEFT):
        return Outcome(path, step.action, step.why)
    if missing := refused(step, allowed):
        return Outcome(path, REFUSED, ", ".join(dict.fromkeys(missing)))
    done = {TAKE: APPLIED, MERGE: MERGED}.get(step.action, "")
    if step.action == CONFLICT:
        if on_conflict == MARK and step.merged is not None:
            done = MERGED if step.clean else MARKED
        elif on_conflict == REPLACE:
            done = APPLIED
        else:
            return Outcome(path, CONFLICT, step.why)
    if dry_run:
        return Outcome(path, done)
    try:
        _write(work, host, step, None if done == APPLIED else step.merged)
    except (OSError, ValueError) as problem:
        return Outcome(path, CONFLICT, getattr(problem, "strerror", None) or str(problem))
    return Outcome(path, done)


def _write(work: Work, host: Directory, step: Step, merged: bytes | None) -> None:
    """Put one path in its place, in the directory that is there or made."""
    parent, _, name = step.change.path.rpartition("/")
    after = step.change.after
    if after is None:
        place = open_beneath(host.fd, parent, _SEARCH) if parent else os.dup(host.fd)
    else:
        place = make_dirs_beneath(host.fd, parent, 0o777)
    try:
        here = _here(place, name)
        if seen(here) != step.seen and not (here and after and stat.S_ISDIR(here.st_mode) and after.kind == DIRECTORY):
            raise OSError(errno.EBUSY, "changed on the host while this ran")
        if after is None or (here is not None and stat.S_ISDIR(here.st_mode) != (after.kind == DIRECTORY)):
            _remove(place, name, here)
        if after is None:
            return
        if after.kind == DIRECTORY:
            _make_directory(place, name)
        elif after.kind == LINK:
            _make_link(place, name, after.link)
        elif after.kind == FILE:
            _make_file(work, step, merged, place, name, here)
    finally:
        os.close(place)


def _here(place: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(place: int, name: str, here: os.stat_result | None) -> None:
    """A directory only when it is empty: what the host has in it and the bottle never saw stays."""
    if here is None:
        return
    if stat.S_ISDIR(here.st_mode):
        os.rmdir(name, dir_fd=place)
    else:
        os.unlink(name, dir_fd=place)


def _make_directory(place: int, name: str) -> None:
    try:
        os.mkdir(name, 0o777, dir_fd=place)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            raise
    else:
        _give(place, name)


def _make_link(place: int, name: str, text: str) -> None:
    own = _temporary()
    os.symlink(text, own, dir_fd=place)
    _give(place, own)
    _put(place, own, name)


def _make_file(work: Work, step: Step, merged: bytes | None, place: int, name: str, here: os.stat_result | None) -> None:
    """Under another name first; the rights of the file it replaces, but for the right to execute and set-id bits."""
    change, own = step.change, _temporary()
    executable = bool(change.after and change.after.executable)
    if merged is not None and here is not None and change.before and change.after:
        kept = change.before.executable == change.after.executable  # whoever changed it, wins
        executable = bool(here.st_mode & 0o100) if kept else executable
    writing = os.open(own, _NEW, 0o777 if executable else 0o666, dir_fd=place)
    try:
        try:
            if merged is not None:
                write_all(writing, merged)
            else:
                with opened(work.result, change.path) as reading:
                    sparse.copy(reading, writing)
            if here is not None and stat.S_ISREG(here.st_mode):
                mode = here.st_mode & 0o777
                os.fchmod(writing, mode | (mode & 0o444) >> 2 if executable else mode & ~0o111)
        finally:
            os.close(writing)
        _give(place, own, here)
    except BaseException:
        os.unlink(own, dir_fd=place)
        raise
    _put(place, own, name)


def _put(place: int, own: str, name: str) -> None:
    try:
        os.rename(own, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.unlink(own, dir_fd=place)
        raise


def _give(place: int, name: str, here: os.stat_result | None = None) -> None:
    """Root makes things for whoever owns what they replace, or the directory they are in."""
    if os.geteuid() == 0:
        owner = here or os.fstat(place)
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=place, follow_symlinks=False)


def _temporary() -> str:
    return f".claude-bottle-{os.urandom(8).hex()}"
