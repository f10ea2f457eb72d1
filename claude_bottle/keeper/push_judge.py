"""The process that judges one push: it shuts itself in, judges, and is gone.

A fresh interpreter, so nothing of the keeper's memory is in it: no credential, no state, no descriptor but the line to the
gate, and one to whoever signs commits where a rule wants that. Before the first hostile byte it gives up its capabilities,
the network, and all files but the system's programs (to read and run) and its own directory; what it runs inherits that. A
kernel that can refuse none of this judges no pushes. Argument: a JSON object, see `keeper.judges`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path

from claude_bottle.backend import namespaces
from claude_bottle.errors import BottleError
from claude_bottle.gate import confine, landlock
from claude_bottle.workspace.push.judge import judge
from claude_bottle.workspace.push.quarantine import Tools

_GIB = 1 << 30
# A bound on what a hostile pack may cost, not on what a large one needs.
_LIMITS = {
    resource.RLIMIT_AS: 8 * _GIB, resource.RLIMIT_FSIZE: 9 * _GIB, resource.RLIMIT_CPU: 600, resource.RLIMIT_NOFILE: 256,
    resource.RLIMIT_CORE: 0,
}  # fmt: skip
_PROGRAMS = ("/usr", "/bin", "/lib", "/lib64", "/nix/store")
_FILES = ("/dev/null", "/dev/urandom", "/dev/zero")


def main() -> None:
    said = json.loads(sys.argv[1])
    place, tools = Path(said["place"]), Tools(said["git"], said["gitleaks"])
    sock = socket.socket(fileno=said["line"])
    signer = socket.socket(fileno=said["signer"]) if said["signer"] else None
    for one in (sock, signer):
        if one is not None:
            os.set_inheritable(one.fileno(), False)
    shut_in(place, [sys.executable, *tools])
    judge(sock, place, tools, signer)


def shut_in(place: Path, programs: list[str]) -> None:
    """Keep nothing but what the module's words say. BottleError where the kernel cannot refuse the rest."""
    for limit, most in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (value, value))
    offline = _leave(str(place))
    libc = ctypes.CDLL(None, use_errno=True)
    namespaces.prctl(namespaces.PR_SET_DUMPABLE, 0)
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    namespaces.drop_capabilities()
    abi = landlock.abi()
    if abi == 0 or not (offline or abi >= landlock.NET_ABI):
        raise BottleError("pushes cannot be judged here", why="this kernel cannot confine whoever judges them (Landlock)")
    homes = {os.path.dirname(os.path.realpath(program)) for program in programs}
    landlock.restrict(libc, [*confine.readable(), *_FILES], executable=[*_PROGRAMS, *homes],
                      writable=[str(place), "/dev/null"], offline=True)  # fmt: skip


def _leave(place: str) -> bool:
    """Into an empty network, where nothing but `place` can be changed; whether the kernel lets us. What it does not let us,
    Landlock refuses all the same, but for modes, owners and times of files."""
    own = namespaces.CLONE_NEWNET | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWIPC
    for flags in (own, namespaces.CLONE_NEWUSER | own, namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNET):
        try:
            namespaces.unshare(flags)
        except OSError:
            continue
        if flags & namespaces.CLONE_NEWNS:
            with contextlib.suppress(OSError):
                namespaces.freeze(place)
        return True
    return False


if __name__ == "__main__":
    main()
