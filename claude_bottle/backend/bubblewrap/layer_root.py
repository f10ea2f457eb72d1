"""The root file system of a build that installs packages as Debian does: its own /usr, /etc and /var, to write to.

Each is an overlay (`layer_overlay`) whose upper directory lies in the build's place and becomes the layer. Below are the
host's /usr, its package database, and of its /etc what packages brought and nobody has changed since: no secret is in that.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from claude_bottle.backend import subids, tree
from claude_bottle.backend.bubblewrap import accounts, rootfs
from claude_bottle.backend.bubblewrap.layer_overlay import BUILT, PARTS
from claude_bottle.backend.bubblewrap.layer_store import ROOT
from claude_bottle.state.beneath import open_beneath

_DPKG = Path("/var/lib/dpkg")
_FILE_LIMIT, _STATUS_LIMIT = 1 << 20, 64 << 20
# What installing writes in place, not under another name first.
_COPIED = ("status", "diversions", "arch", "triggers/File", "triggers/Unincorp")
_LOCKS = ("triggers/Lock",)
_NOT_GIVEN = ("/etc/apt/", "/etc/dpkg/")
# What packages make of their templates when they are configured; nothing of an operator's own is in these.
_MADE = ("adduser.conf", "ca-certificates.conf", "debian_version", "environment", "login.defs",
         *(f"pam.d/common-{name}" for name in
           ("account", "auth", "password", "session", "session-noninteractive")))  # fmt: skip
_VAR = ("backups", "cache/apt/archives/partial", "cache/debconf", "lib/apt/lists/partial", "lib/dpkg", "lib/misc", "lib/pam",
        "local", "log", "mail", "opt", "spool", "tmp")  # fmt: skip
_POLICY = "#!/bin/sh\nexit 101\n"  # no service is started, Debian Policy 9.3.3


class BuildRoot:
    """In the directory `place`: `upper/PART` (what is written), `work/PART` (the kernel's), `given/PART` (below it).
    `layers` are those it stands on, lowest first."""

    def __init__(self, place: Path, layers: tuple[Path, ...], ids: subids.Range) -> None:
        self._place, self._layers, self._ids = place, layers, ids
        self._known = accounts.of_host().with_(accounts.of_layers(layers))

    @property
    def upper(self) -> Path:
        return self._place / "upper"

    def make(self) -> None:
        for top in ("upper", "work", "given"):
            os.mkdir(self._place / top, 0o755)
            for part in BUILT:
                self._mkdir(f"{top}/{part}")
        _give_etc(self._place / "given/etc")
        _give_var(self._place / "given/var")
        self._begin_database()
        self._write("upper/usr/sbin/policy-rc.d", _POLICY, 0o755)
        nobody = "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin"
        for name, own, more in (
            ("passwd", ("root:x:0:0:root:/root:/bin/sh", nobody), self._known.users),
            ("group", ("root:x:0:", "tty:x:5:", "nogroup:x:65534:"), self._known.groups),
        ):
            self._write(f"upper/etc/{name}", "".join(f"{line}\n" for line in (*own, *more)))

    def finish(self) -> accounts.Accounts:
        """The build is over and its bottle gone: everything it wrote is ours to read. The users and groups it made."""
        subids.reclaim(self.upper)
        with tree.opened(self.upper) as upper, suppress(OSError):
            fd = open_beneath(upper, "etc", os.O_DIRECTORY)
            try:
                return accounts.read(fd, "passwd", "group").without(self._known)
            finally:
                os.close(fd)
        return accounts.Accounts()

    def _begin_database(self) -> None:
        """dpkg's files: what is installed here and in the layers below, without the host's locks and overrides."""
        database = next(path for path in reversed([_DPKG, *(layer / ROOT / PARTS["dpkg"] for layer in self._layers)])
                        if _is_plain(path / "status") or path == _DPKG)  # fmt: skip
        reading = _read_of_host if database == _DPKG else _read_of_layer
        names = {name for path in (_DPKG, database) for name in os.listdir(path) if not (path / name).is_dir()}
        for name in sorted({*names, *_COPIED, *_LOCKS}):
            content = b""
            with suppress(OSError):
                content = reading(database, name) if name in _COPIED else b""
            self._write(f"upper/dpkg/{name}", content)

    def _mkdir(self, path: str) -> None:
        made = f"{self._place}/{path}"
        os.mkdir(made, 0o755)
        self._own(made)

    def _write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        target = self._place / path
        for above in reversed(target.relative_to(self._place).parents):
            if not (self._place / above).is_dir():
                self._mkdir(str(above))
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        self._own(str(target))

    def _own(self, path: str) -> None:
        if os.geteuid() == 0:
            os.chown(path, self._ids.user, self._ids.group)


def _give_etc(place: Path) -> None:
    """What is in /etc as its packages brought it, and where its alternatives lead."""
    status = b""
    with suppress(OSError):
        status = _read(_DPKG / "status", _STATUS_LIMIT)
    wanted = dict(line.split()[:2] for line in status.decode("utf-8", "replace").splitlines()
                  if line.startswith(" /etc/") and len(line.split()) == 2)  # fmt: skip
    for path, digest in (*wanted.items(), *((f"/etc/{name}", "") for name in _MADE)):
        if not path.startswith(_NOT_GIVEN):
            with suppress(OSError, ValueError):
                data = _read(Path(path), _FILE_LIMIT)
                if not digest or hashlib.md5(data, usedforsecurity=False).hexdigest() == digest:
                    _put(place, path.removeprefix("/etc/"), data)
    for name in ("alternatives", "apt/apt.conf.d"):
        (place / name).mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        for name in os.listdir("/etc/alternatives"):
            with suppress(OSError):
                os.symlink(os.readlink(f"/etc/alternatives/{name}"), place / "alternatives" / name)


def _give_var(place: Path) -> None:
    """The directories that packages expect, empty: Debian's own, and by their names those that the host has."""
    for name in _VAR:
        (place / name).mkdir(parents=True, exist_ok=True)
    for name, target in rootfs.VAR_LINKS.items():
        (place / name).symlink_to(target)
    for above in ("lib", "cache"):
        with suppress(OSError):
            for entry in os.scandir(f"/var/{above}"):
                if entry.is_dir(follow_symlinks=False) and entry.stat().st_mode & 0o005 == 0o005:
                    (place / above / entry.name).mkdir(exist_ok=True)


def _put(place: Path, name: str, data: bytes) -> None:
    target = place / os.path.normpath(f"/{name}").lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o644)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _read_of_host(directory: Path, name: str) -> bytes:
    return _read(directory / name, _STATUS_LIMIT)


def _read_of_layer(directory: Path, name: str) -> bytes:
    """Through no link: the layer's build may have left one to a file of the host's that no bottle may see."""
    with tree.opened(directory) as opened:
        return _content(open_beneath(opened, name), directory / name, _STATUS_LIMIT)


def _read(path: Path, limit: int) -> bytes:
    """A file that everybody may read. OSError for another, ValueError for one that is too large."""
    return _content(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), path, limit)


def _content(fd: int, path: Path, limit: int) -> bytes:
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IROTH:
            raise PermissionError(path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(path)
    return data
