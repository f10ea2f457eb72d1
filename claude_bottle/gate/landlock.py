"""Landlock through ctypes (man 7 landlock; linux/landlock.h): this thread may read some directories and nothing else.

Everything the running kernel's ABI can refuse is handled and only reading is granted back, so writing, creating,
executing, truncating, device ioctls, binding TCP ports, abstract sockets and outward signals are refused where known.
May touch: the calling thread, and O_PATH descriptors that are closed again.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from claude_bottle.errors import BottleError

# The numbers are the same on every architecture (asm-generic).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
# Rights that a rule for a file may have; the others are for directories.
_OF_FILES = _EXECUTE | 1 << 1 | _READ_FILE | 1 << 14
# Devices are no business of anybody confined here: no ioctl on them.
_IOCTL_DEV = 1 << 15
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1
TRUNCATE_ABI, NET_ABI, SCOPE_ABI = 3, 4, 6

# Rights known per ABI, as the number of low bits: 1 has 13, refer came with 2, truncate with 3, ioctl_dev with 5.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock ABI; 0 when it has none or it is switched off."""
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def restrict(
    libc: ctypes.CDLL, readable: Iterable[str], *, executable: Iterable[str] = (), writable: Iterable[str] = (),
    offline: bool = False,
) -> None:  # fmt: skip
    """Allow reading below `readable` (missing ones are skipped) and nothing more; but for reading and executing below
    `executable`, and doing what one likes below `writable`. `offline`: no TCP connection either, where the kernel can
    refuse it. Does nothing on a kernel without Landlock; raises BottleError when the kernel has it and refuses. Needs
    no_new_privs."""
    version = abi()
    if version == 0:
        return
    everything = (1 << _RIGHTS.get(version, 16)) - 1
    attributes = _Ruleset(
        fs=everything,
        net=(_BIND_TCP | (_CONNECT_TCP if offline else 0)) if version >= NET_ABI else 0,
        scoped=_SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if version >= SCOPE_ABI else 0,
    )
    size = 24 if version >= SCOPE_ABI else 16 if version >= NET_ABI else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    if ruleset < 0:
        raise _refused("landlock_create_ruleset")
    try:
        for paths, rights in (
            (readable, _READ_FILE | _READ_DIR), (executable, _READ_FILE | _READ_DIR | _EXECUTE),
            (writable, everything & ~(_EXECUTE | _IOCTL_DEV)),
        ):  # fmt: skip
            for path in paths:
                _allow(libc, ruleset, path, rights)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _refused("landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _PathBeneath(allowed=rights if directory else rights & _OF_FILES, parent=descriptor)
        if libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0) != 0:
            raise _refused("landlock_add_rule")
    finally:
        os.close(descriptor)


def _refused(call: str) -> BottleError:
    return BottleError("the gate could not be confined", why=f"{call}: {os.strerror(ctypes.get_errno())}")
