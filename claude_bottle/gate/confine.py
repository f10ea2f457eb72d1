"""The gate gives up whatever it does not need, before it reads the first hostile byte.

In this order: no dump and no tracing by others, death with the keeper, no new privileges, no capabilities, then Landlock
(reading what Python, certificates and the resolver need; no writing, no executing, no binding of ports, no signals or
abstract sockets outwards). A step the kernel refuses although it offers it ends the gate; a step the kernel does not
offer is reported by `available()`, so that the plan can say `weaker` or `off`. May touch: this process only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable

from claude_bottle.errors import BottleError
from claude_bottle.gate import landlock
from claude_bottle.model.plan import Protection

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

# What the C library's resolver reads, besides the system directories. Files that are replaced by renaming (network
# managers do that) stay readable only through their directory: hence /run/systemd/resolve and, for ordinary users, whom
# file modes keep from the secrets there anyway, the whole of /etc.
_RESOLVER = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services",
    "/etc/localtime", "/etc/ld.so.cache", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
)  # fmt: skip
_CERTIFICATES = ("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/var/lib/ca-certificates")
_SYSTEM = ("/usr", "/lib", "/lib64", "/opt/homebrew", "/nix/store", "/dev/urandom", "/dev/null")


def available() -> tuple[Protection, ...]:
    """Which protections this kernel gives the gate. Changes nothing."""
    found = [Protection("gate: no new privileges, not traceable, dies with its keeper", "on")]
    abi = landlock.abi()
    name = "gate: sees only libraries, certificates and resolver files, read-only"
    if abi == 0:
        found.append(Protection(name, "off", "this kernel has no Landlock"))
    elif abi < landlock.TRUNCATE_ABI:
        found.append(Protection(name, "weaker", f"Landlock ABI {abi} cannot refuse truncation"))
    else:
        found.append(Protection(name, "on"))
    name = "gate: no signals or abstract sockets to other processes, no ports of its own"
    if abi >= landlock.SCOPE_ABI:
        found.append(Protection(name, "on"))
    elif abi >= landlock.NET_ABI:
        found.append(Protection(name, "weaker", f"Landlock ABI {abi} cannot scope signals and abstract sockets"))
    else:
        found.append(Protection(name, "off", f"needs Landlock ABI {landlock.SCOPE_ABI}, this kernel has {abi}"))
    return tuple(found)


def close_descriptors(keep: Iterable[int]) -> None:
    """Close everything above stderr but `keep`: a fork inherits its parent's terminals and journals."""
    low = 3
    for descriptor in sorted(set(keep)):
        os.closerange(low, descriptor)
        low = max(low, descriptor + 1)
    ceiling = max((int(name) for name in os.listdir("/proc/self/fd")), default=low)
    os.closerange(low, max(low, ceiling) + 1)


def detach(files_limit: int) -> None:
    """The cheap part, first thing after the fork: die with the keeper, no dump, no tracing, own signal handling."""
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files_limit, hard), hard))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def confine(extra_read: Iterable[str] = ()) -> None:
    """Give up capabilities and all file access but reading `extra_read` and the system's own directories.

    For the calling thread and its later children: call it before any thread exists. Raises BottleError when the kernel
    offers a step and refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities(libc)
    landlock.restrict(libc, (*readable(), *extra_read))
    if os.geteuid() != 0:
        return
    for capability in range(64):
        if libc.prctl(23, capability, 0, 0, 0) == 1:  # PR_CAPBSET_READ
            raise BottleError("the gate kept a capability", why=f"capability {capability} is still in the bounding set")


def readable() -> Iterable[str]:
    """What Python, its libraries, certificates and the resolver need."""
    yield from (*_SYSTEM, *_CERTIFICATES, *_RESOLVER)
    if os.geteuid() != 0:
        yield "/etc"
    yield from {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    yield os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if os.environ.get(variable):
            yield os.environ[variable]


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Empty the bounding, ambient, effective, permitted and inheritable sets. An ordinary user has only the first, and
    may not shrink it; no_new_privs makes it worthless there."""
    if os.geteuid() == 0:
        for capability in range(64):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # EINVAL past the last one the kernel knows
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    if libc.capset(header, data) != 0:
        raise _refused("capset")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise _refused(f"prctl({option})")


def _refused(call: str) -> BottleError:
    return BottleError("the gate could not be confined", why=f"{call}: {os.strerror(ctypes.get_errno())}")
