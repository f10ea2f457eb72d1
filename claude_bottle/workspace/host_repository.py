"""The operator's repository, added to without running git in it: packs among its objects, branches of one name.

The repository is the operator's own, but its hooks, settings and helpers are no business of ours. Everything is written
beneath its directory through no link, beside its place and renamed; refs under git's own lock files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from claude_bottle.errors import BottleError, Refused
from claude_bottle.state.beneath import make_dirs_beneath
from claude_bottle.state.files import write_all
from claude_bottle.workspace.directory import Directory, content
from claude_bottle.workspace.refs import GIT, Refs, read

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDINGS = (".pack", ".rev", ".idx")  # git takes a pack for there once its index is


class HostRepository:
    """`own`: where its HEAD is; `common`: where its objects and branches are (another place for a linked worktree)."""

    def __init__(self, source: Path) -> None:
        """That whose working tree `source` is. BottleError when it is none, or one that cannot be added to."""
        own = source / GIT
        try:
            if own.is_file():
                own = source / own.read_text(errors="surrogateescape").strip().removeprefix("gitdir: ")
            common = own / (own / "commondir").read_text().strip() if (own / "commondir").is_file() else own
        except OSError as problem:
            raise BottleError(f"cannot read {own}", why=problem.strerror or "") from problem
        if not (common / "objects").is_dir() or not (common / "refs").is_dir():
            raise BottleError(f"{source} is no git repository", do="claude-bottle apply, or export, carries its files over")
        self.own, self.common = own, Path(os.path.realpath(common))
        settings = (self.common / "config").read_text(errors="replace").lower() if (self.common / "config").is_file() else ""
        if re.search(r'refstorage\s*=\s*"?reftable', settings):
            raise BottleError(f"cannot add to the repository of {source}", why="it keeps its branches in a reftable")
        self.sha256 = bool(re.search(r'objectformat\s*=\s*"?sha256', settings))

    @property
    def objects(self) -> Path:
        return self.common / "objects"

    def refs(self) -> Refs:
        """Its branches and tags."""
        with Directory(self.common.parent) as above:
            return read(above) if self.common.name == GIT else Refs()

    def take_packs(self, source: Path) -> None:
        """Put the packs of the directory `source`, which is ours, among its objects."""
        names = sorted(os.listdir(source)) if source.is_dir() else []
        if not names:
            return
        with Directory(self.common) as top, Directory(source) as packs:
            place = make_dirs_beneath(top.fd, "objects/pack", 0o777)
            try:
                for ending in _ENDINGS:
                    for name in names:
                        if name.endswith(ending):
                            _put(place, name, content(packs, name, 1 << 62), 0o444)
            finally:
                os.close(place)

    def branch(self, name: str) -> str:
        """Where a branch stands; "" for none."""
        with Directory(self.common) as top:
            try:
                return content(top, f"refs/heads/{name}", 4096).decode().strip()
            except OSError:
                pass
            try:
                packed = content(top, "packed-refs", 1 << 30)
            except OSError:
                return ""
        found = re.search(rb"^([0-9a-f]{40,64}) refs/heads/%s$" % re.escape(name.encode()), packed, re.MULTILINE)
        return found[1].decode() if found else ""

    def set_branch(self, name: str, commit: str, follows: Callable[[str, str], bool], *, force: bool) -> None:
        """Make or move a branch. Refused where it holds what the commit does not follow from, or is checked out."""
        parent, _, last = f"refs/heads/{name}".rpartition("/")
        with Directory(self.common) as top:
            try:
                place = make_dirs_beneath(top.fd, parent, 0o777)
                lock = os.open(f"{last}.lock", _NEW, 0o666, dir_fd=place)
            except OSError as problem:
                raise BottleError(f"cannot make the branch {name}", why=problem.strerror or str(problem)) from problem
            try:
                former = self.branch(name)
                if former not in ("", commit):
                    self._judge(name, former, commit, follows, force)
                write_all(lock, f"{commit}\n".encode())
                os.fsync(lock)
                _give(place, f"{last}.lock")
                os.rename(f"{last}.lock", last, src_dir_fd=place, dst_dir_fd=place)
            except BaseException:
                os.unlink(f"{last}.lock", dir_fd=place)
                raise
            finally:
                os.close(lock)
                os.close(place)

    def _judge(self, name: str, former: str, commit: str, follows: Callable[[str, str], bool], force: bool) -> None:
        if any(head == f"ref: refs/heads/{name}" for head in self._heads()):
            raise Refused(f"the branch {name} is checked out", do="switch to another one, then repeat")
        if not force and not follows(former, commit):
            raise Refused(f"the branch {name} holds something else", why="what the bottle has does not follow from it",
                          do="rename the branch, or repeat with --force")  # fmt: skip

    def _heads(self) -> list[str]:
        """What the working trees of the repository have checked out."""
        heads = (self.common / "HEAD", *self.common.glob("worktrees/*/HEAD"))
        return [path.read_text(errors="replace").strip() for path in heads if path.is_file()]


def _put(place: int, name: str, data: bytes, mode: int) -> None:
    own = f"tmp_claude_bottle_{os.urandom(8).hex()}"
    fd = os.open(own, _NEW, 0o600, dir_fd=place)
    try:
        write_all(fd, data)
        os.fchmod(fd, mode)
        os.fsync(fd)
        _give(place, own)
        os.rename(own, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.unlink(own, dir_fd=place)
        raise
    finally:
        os.close(fd)


def _give(place: int, name: str) -> None:
    """Root adds for whoever owns the repository."""
    if os.geteuid() == 0:
        owner = os.fstat(place)
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=place, follow_symlinks=False)
