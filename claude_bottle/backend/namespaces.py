"""The system calls that Python 3.11 lacks: namespaces, mounts, capabilities, process controls.

Thin and stateless: one function a call, integers in, OSError (with the call's name) out, nothing decided
here. It may be used between fork and exec, so nothing in it imports, logs or allocates much. Numbers are of
the unified table (424 and up, alike on x86_64 and aarch64) or given for both.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_PARENT, SIGCHLD = 0x00008000, 17

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
MS_REC, MS_PRIVATE, MS_SLAVE = 0x4000, 1 << 18, 1 << 19

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 4, 22, 23, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
PR_GET_SECUREBITS, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 27, 28, 1 << 2
SECCOMP_MODE_FILTER = 2

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR, _OPENAT2, _CLOSE_RANGE = 428, 429, 442, 437, 436
_CLONE, _CAPSET = {"x86_64": (56, 126), "aarch64": (220, 91)}.get(os.uname().machine, (-1, -1))
_AT_EMPTY_PATH, _AT_RECURSIVE, _OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 0x1000, 0x8000, 1, 4
_MOUNT_ATTR_RDONLY, _AT_FDCWD = 1, -100
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_IDMAP = 2, 4, 0x00100000
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

# PyDLL keeps the interpreter's lock over the call: after `clone_sibling` there is no other thread to hand
# it back.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, call: str, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", path)
    return int(result)


def _raw(call: str, number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    return _checked(_syscall(ctypes.c_long(number), *words), call)


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Join the namespaces in `flags` of a process (pidfd), or the one a namespace descriptor stands for."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), "setns")


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    arguments = (ctypes.c_int(option), *(ctypes.c_ulong(word) for word in (first, second, 0, 0)))
    return _checked(_libc.prctl(*arguments), "prctl")


@contextmanager
def files_as(uid: int, gid: int) -> Iterator[None]:
    """Make files as this user while keeping every capability (setfsuid(2) would take some of them)."""
    securebits = prctl(PR_GET_SECUREBITS)
    prctl(PR_SET_SECUREBITS, securebits | SECBIT_NO_SETUID_FIXUP)
    before = _libc.setfsuid(uid), _libc.setfsgid(gid)
    try:
        if (_libc.setfsuid(-1), _libc.setfsgid(-1)) != (uid, gid):
            raise OSError(errno.EPERM, "setfsuid")
        yield
    finally:
        _libc.setfsuid(before[0])
        _libc.setfsgid(before[1])
        prctl(PR_SET_SECUREBITS, securebits)


def clone_sibling() -> int:
    """Like fork, but the new process is a child of our parent. Its process id (0 in the new process)."""
    return _raw("clone", _CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)


def close_from(first: int) -> None:
    """Close every descriptor from `first` up."""
    _raw("close_range", _CLOSE_RANGE, first, 0x7FFFFFFF, 0)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(_libc.mount(*words), "mount", target)


def open_tree(descriptor: int) -> int:
    """A detached copy of the mount (and those below it) at an O_PATH descriptor."""
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE | _OPEN_TREE_CLONE | os.O_CLOEXEC
    return _raw("open_tree", _OPEN_TREE, descriptor, b"", flags)


def move_mount(tree: int, directory: int, name: str) -> None:
    """Attach a detached mount at `name` in a directory."""
    _raw("move_mount", _MOVE_MOUNT, tree, b"", directory, os.fsencode(name), _MOVE_MOUNT_F_EMPTY_PATH)


def idmap_tree(tree: int, user_namespace: int) -> None:
    """Show the files of a detached mount with owners mapped as the user namespace maps them."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _raw("mount_setattr", _MOUNT_SETATTR, tree, b"", flags, attributes, len(attributes))


def confine_tree(tree: int) -> None:
    """No set-user-id program and no device of a detached mount counts, and nothing mounted elsewhere appears in it."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, MS_PRIVATE, 0)
    _raw("mount_setattr", _MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))


def freeze(but: str) -> None:
    """In a mount namespace of one's own: nothing of any file system can be changed, its modes and times included, `but`
    below this directory. Programs there and elsewhere lose set-user-id."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount(but, but, "", MS_BIND)
    for path, flags, on, off in (
        ("/", _AT_RECURSIVE, _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0), (but, 0, 0, _MOUNT_ATTR_RDONLY),
    ):  # fmt: skip
        attributes = struct.pack("=QQQQ", on, off, 0, 0)
        _raw("mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, attributes, len(attributes))
def read_only_tree(tree: int) -> None:
    """Nobody writes to a detached mount, nor to what is mounted below it."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, 0)
    _raw("mount_setattr", _MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))


def open_beneath(path: str, *, directory: int) -> int:
    """An O_PATH descriptor of a relative path below `directory`; ELOOP if any component of it is a link."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    return _raw("openat2", _OPENAT2, directory, os.fsencode(path), how, len(how))


def drop_capabilities(but: int = 0) -> None:
    """Empty the bounding, ambient, inheritable, permitted and effective sets of this thread, for good. `but`: a mask of
    those (below 32) that stay bounding, permitted and effective."""
    capability = 0
    while True:
        try:
            prctl(PR_CAPBSET_READ, capability)
        except OSError:
            break  # EINVAL: one past the last capability this kernel knows
        if not but >> capability & 1:
            prctl(PR_CAPBSET_DROP, capability)
        capability += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _raw("capset", _CAPSET, header, struct.pack("=6I", but, but, 0, 0, 0, 0))


def install_filter(program: bytes) -> None:
    """Load a seccomp filter (an array of struct sock_filter) for good; needs no_new_privs."""
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_program = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    holder = ctypes.create_string_buffer(filter_program, len(filter_program))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(holder))
