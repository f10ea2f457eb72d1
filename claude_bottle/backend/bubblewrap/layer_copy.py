"""What a build left, on its way into a layer: hostile until here, ours from here.

Everything is opened beneath two descriptors with no link followed. Files, directories and links as such come along, without
set-id bits, attributes and owners; what is neither is left behind, and so is what a bottle has from us. Names that maintainer
scripts would have linked are linked.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from claude_bottle.backend import tree
from claude_bottle.backend.bubblewrap import layer_scripts
from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath
from claude_bottle.state.files import read_up_to

_SCRIPT_LIMIT, _MOST_SCRIPTS = 256 << 10, 2000
# Where a layer may have something, and where it then lies: /bin and its like are /usr/bin on every host we know today.
_TOPS = {"usr": "usr", "etc": "etc", "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib32": "usr/lib32",
         "lib64": "usr/lib64", "libx32": "usr/libx32"}  # fmt: skip
# The same where a build had a root file system of its own.
_BUILT_TOPS = {"usr": "usr", "etc": "etc", "var": "var", "dpkg": "var/lib/dpkg"}
# What a bottle's /etc says of users and loading is ours to say, and so is what every other program is started by.
_NOT_TAKEN = frozenset({
    "etc/ld.so.preload", "etc/ld.so.cache", "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow",
    *(f"etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid") for end in ("-", ".lock")),
    "etc/.pwd.lock", "etc/subuid", "etc/subgid",
    *(f"{place}/{name}" for place in ("usr/bin", "bin") for name in ("env", "setpriv", "cat")),
    # Of a build that installs: what keeps services from starting, and what it leaves behind it.
    "usr/sbin/policy-rc.d", "var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/lib/apt", "var/lib/dpkg",
    "var/lock", "var/log", "var/run", "var/tmp", "dpkg/lock", "dpkg/lock-frontend", "dpkg/status-old", "dpkg/triggers/Lock",
})  # fmt: skip


def take_over(work: Path, root: Path, most: int, *, installed: bool = False) -> int:
    """Copy what the build left of the layer below `work` to `root`, at most so many bytes, and make it read-only; its bytes.
    The build's bottle is gone by now. `installed`: it had a root file system of its own. BottleError when there is nothing,
    or not all of it could be copied."""
    root.mkdir(mode=0o755)
    copied = 0
    name, tops = ("upper", _BUILT_TOPS) if installed else ("layer", _TOPS)
    with tree.opened(work) as hostile, tree.opened(root) as writing:
        try:
            layer = open_beneath(hostile, name, os.O_DIRECTORY)
        except OSError as problem:
            raise BottleError("the layer could not be built", why="the build left nothing") from problem
        try:
            for top, target in tops.items():
                copied += _take_top(layer, top, writing, target, most - copied)
        finally:
            os.close(layer)
        if not installed:
            _link_alternatives(hostile, writing)
    _close_to_writing(root)
    return copied


def _take_top(layer: int, top: str, writing: int, target: str, most: int) -> int:
    try:
        reading = open_beneath(layer, top, os.O_DIRECTORY)
    except OSError:
        return 0  # not there, or a link, which says nothing about the files of this layer
    place = make_dirs_beneath(writing, target)
    try:
        copy = tree.Copy(fresh=top == target, without=_NOT_TAKEN, most=most)
        copy.whole(reading, place, top)
        copy.demand_all()
        return copy.size
    finally:
        os.close(reading)
        os.close(place)


def _link_alternatives(hostile: int, writing: int) -> None:
    """The names that maintainer scripts would have made, where neither this host nor the layer has them."""
    for script in _scripts(hostile):
        for link, path in layer_scripts.alternatives(script):
            inside = link.lstrip("/") if link.startswith("/usr/") else f"usr{link}"
            if os.path.lexists(link):
                continue
            directory, _, name = inside.rpartition("/")
            with suppress(OSError, ValueError):
                where = make_dirs_beneath(writing, directory)
                try:
                    os.symlink(path, name, dir_fd=where)
                finally:
                    os.close(where)


def _scripts(hostile: int) -> list[str]:
    found: list[str] = []
    try:
        control = open_beneath(hostile, "control", os.O_DIRECTORY)
    except OSError:
        return found
    try:
        for name in sorted(os.listdir(control))[:_MOST_SCRIPTS]:
            with suppress(OSError, ValueError):
                fd = open_beneath(control, f"{name}/postinst")
                try:
                    if stat.S_ISREG(os.fstat(fd).st_mode):
                        found.append(read_up_to(fd, _SCRIPT_LIMIT).decode("utf-8", "replace"))
                finally:
                    os.close(fd)
    finally:
        os.close(control)
    return found


def _close_to_writing(root: Path) -> None:
    """Everybody may read and nobody write; what anybody could execute everybody can."""
    for _, _, names, fd in os.fwalk(root, topdown=False):
        for name in names:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                os.chmod(name, 0o555 if mode & 0o111 else 0o444, dir_fd=fd)
        os.fchmod(fd, 0o555)
