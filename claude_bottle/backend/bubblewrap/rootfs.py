"""The file system a bottle sees, as files on the stage and arguments for bwrap.

The host gives its `/usr` (and `/bin`, `/lib`, … as they are there), a handful of harmless files of `/etc`,
and what the plan names; all else is made here. Nothing else of the host is present, so its paths are absent
(ENOENT) and not merely forbidden. `write_files` touches only the stage; `arguments` is pure but for looking
at `/`.
"""

from __future__ import annotations

import os
import stat

from claude_bottle.backend.base import GID, HOSTNAME, UID, USER
from claude_bottle.backend.bubblewrap.layer_overlay import Pile, System
from claude_bottle.backend.bubblewrap.programs import find_cat
from claude_bottle.backend.stage import STAGE
from claude_bottle.harness.base import HOME, WORKSPACE
from claude_bottle.model.plan import Mount

INIT = "/.init/cat"
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_COPIED = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types", "services", "protocols", "ethertypes")
_COPY_LIMIT, _INIT_LIMIT = 4 << 20, 32 << 20
_BUNDLES = ("ssl/certs/ca-certificates.crt", "ssl/cert.pem", "pki/tls/certs/ca-bundle.crt")
# Kernel state that says more about the host than a tool needs (docker's masked paths).
_MASKED_FILES = (
    *("cmdline", "kcore", "keys", "key-users", "timer_list", "sched_debug", "latency_stats", "kallsyms", "kmsg"),
    *("kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "interrupts", "sysrq-trigger"),
)
_MASKED_DIRECTORIES = ("acpi", "asound", "scsi", "driver", "fs", "irq", "bus")
# Where everybody could read what the first process has mounted; every other one's table is empty (see `enter`).
_FIRST = {"1/mountinfo": "empty", "1/mounts": "empty", "1/task": "empty.d"}

DIRECTORIES = ("etc", "etc/ssl", "etc/ssl/certs", "etc/pki", "etc/pki/tls", "etc/pki/tls/certs", "etc/alternatives",
               "etc/ld.so.conf.d")  # fmt: skip
VAR_LINKS = {"run": "/run", "lock": "/run/lock"}  # of the base-files of Debian
_TEXTS = {
    "passwd": (
        f"root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{UID}:{GID}:{USER}:{HOME}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": f"root:x:0:\ntty:x:5:\n{USER}:x:{GID}:\nnogroup:x:65534:\n",
    "hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.0.1 {HOSTNAME}\n",
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
    "protocols: files\nservices: files\n",
    "hostname": f"{HOSTNAME}\n",
    "shells": "/bin/sh\n/bin/bash\n",
}


def write_files(stage: int, pile: Pile, *, trust: bool) -> int:
    """Lay the synthetic files on the stage: `etc/`, `init/cat`, an empty file, empty directories. With `trust` also the
    bundle of authorities, which the caller writes: the descriptor to do it with, else -1. Of the `pile` come its cache of
    libraries in place of the host's, and its users."""
    for directory in (*DIRECTORIES, "init", "empty.d", "var", "var/tmp"):
        os.mkdir(directory, 0o755, dir_fd=stage)
    for name, target in VAR_LINKS.items():
        os.symlink(target, f"var/{name}", dir_fd=stage)
    _write(stage, "empty", b"", 0o444)
    more = {"passwd": pile.users, "group": pile.groups}
    for name, text in _TEXTS.items():
        lines = "".join(f"{line}\n" for line in more.get(name, ()))
        _write(stage, f"etc/{name}", (text + lines).encode(), 0o444)
    cache = pile.cache_file
    for name in _COPIED:
        _copy(stage, cache if cache and name == "ld.so.cache" else f"/etc/{name}", f"etc/{name}")
    # Readable by nobody: the kernel then keeps the process that runs it from being traced or read.
    _copy(stage, find_cat(), "init/cat", mode=0o111, limit=_INIT_LIMIT)
    return _open_bundle(stage) if trust else -1


def _open_bundle(stage: int) -> int:
    """One file under every name a distribution has for it."""
    first, *others = (f"etc/{name}" for name in _BUNDLES)
    file = os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=stage)
    for name in others:
        os.link(first, name, src_dir_fd=stage, dst_dir_fd=stage)
    return file


def _write(stage: int, name: str, content: bytes, mode: int) -> None:
    file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=stage)
    try:
        written = 0
        while written < len(content):
            written += os.write(file, content[written:])
        os.fchmod(file, mode)
    finally:
        os.close(file)


def _copy(stage: int, source: str, name: str, mode: int = 0o444, limit: int = _COPY_LIMIT) -> None:
    """Copy a host file of the system's own; one that is absent, unreadable, too large or no plain file is left out."""
    try:
        file = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    with open(file, "rb") as opened:
        if stat.S_ISREG(os.fstat(file).st_mode):
            content = opened.read(limit + 1)
            if len(content) <= limit:
                _write(stage, name, content, mode)


def arguments(
    *, home: str, workspace: str, mounts: tuple[Mount, ...], staged: tuple[str, ...], tmp_size: int,
    system: System,
) -> list[str]:  # fmt: skip
    """bwrap's file system options, in order. `home`, `workspace` and `staged` (parallel to `mounts`) are
    stage names."""
    bind = "--bind" if system.writable else "--ro-bind"
    options = [bind, system.usr, "/usr", *_system_links(), bind, system.etc, "/etc"]
    if not system.writable:  # a build has its own copies
        options += ["--ro-bind-try", system.alternatives, "/etc/alternatives"]
        options += ["--ro-bind-try", "/etc/ld.so.conf.d", "/etc/ld.so.conf.d"]
    options += [bind, system.var, "/var"] if system.var else []
    options += [bind, system.dpkg, "/var/lib/dpkg"] if system.dpkg else []
    options += ["--proc", "/proc", *_masks(), "--dev", "/dev", "--dev-bind", f"{STAGE}/pts", "/dev/pts",
                "--remount-ro", "/dev"]  # fmt: skip
    for target, mode, size in (
        ("/tmp", "1777", tmp_size), ("/var/tmp", "1777", tmp_size), ("/dev/shm", "1777", tmp_size),
        ("/run", "0755", 64 << 20),
    ):  # fmt: skip
        options += ["--perms", mode, "--size", str(size), "--tmpfs", target]
    options += ["--ro-bind", f"{STAGE}/init", "/.init", "--perms", "0755", "--dir", "/home"]
    options += ["--bind", f"{STAGE}/{home}", HOME, "--bind", f"{STAGE}/{workspace}", WORKSPACE]
    for mount, name in zip(mounts, staged, strict=True):
        options += ["--bind" if mount.mode == "rw" else "--ro-bind", f"{STAGE}/{name}", mount.target]
    return options if system.writable else [*options, "--remount-ro", "/"]


def _system_links() -> list[str]:
    options: list[str] = []
    for name in _LINKS:
        path = f"/{name}"
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", path, path]
    return options


def _masks() -> list[str]:
    """Covers for what everybody may read; the rest is closed already, since nobody in a bottle is its owner. Each
    cover costs bwrap a reading of its mount table."""
    options: list[str] = []
    for name, cover in _FIRST.items():
        options += ["--ro-bind", f"{STAGE}/{cover}", f"/proc/{name}"]
    for names, cover in ((_MASKED_FILES, "empty"), (_MASKED_DIRECTORIES, "empty.d")):
        for name in names:
            try:
                mode = os.stat(f"/proc/{name}").st_mode
            except OSError:
                continue
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                options += ["--ro-bind", f"{STAGE}/{cover}", f"/proc/{name}"]
    return options
