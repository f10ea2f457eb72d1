"""The way into a running sandbox: one path for the agent, every operator command and the keeper's own
errands.

A fork joins the namespaces of the bottle's first process, takes its user, drops everything, and begets a
sibling that is born inside with nothing left to lose; that one loads the filter and executes. Until then it
is a copy of the keeper and therefore not dumpable: nothing inside can trace it, read it or follow its /proc
entries.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import struct
import termios
from collections.abc import Callable, Mapping

from claude_bottle.backend import childhood
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.bubblewrap import opener, owners
from claude_bottle.backend.bubblewrap.bounds import Bounds
from claude_bottle.errors import BottleError
from claude_bottle.values import dataclass

_ALL = (
    ns.CLONE_NEWUSER | ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWNS | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS
    | ns.CLONE_NEWCGROUP
)  # fmt: skip
_REPORT, _PIDFD = 3, 4
_MARK, _BORN = b"P", struct.Struct("=ci")  # what precedes an error's JSON on the report, if a process was born


@dataclass(frozen=True)
class Command:
    """What to execute inside. `argv[0]` is an absolute path; `cwd` is a path inside."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    stdio: tuple[int, int, int]
    controlling_tty: bool
    bounds: Bounds = Bounds()
    role: owners.Role = owners.AGENT


def enter(first_pidfd: int, command: Command, program: bytes) -> tuple[int, int]:
    """Start `command` in the sandbox; its process id on the host, a child of ours, and a descriptor of it.
    BottleError if that failed; nothing runs then."""
    born, failure = _fork_and_hear([*command.stdio], first_pidfd, lambda: _go_in(command, program))
    if born and not failure:
        try:
            return born, os.pidfd_open(born)
        except OSError as problem:
            os.kill(born, signal.SIGKILL)  # it is ours and uncollected: the id is still its own
            os.waitpid(born, 0)
            raise _no_way_in(problem) from None
    if born:
        os.waitpid(born, 0)
    raise (BottleError.from_dict(failure) if failure else BottleError("cannot enter the bottle", why="it is gone"))


def _fork_and_hear(descriptors: list[int], pidfd: int, work: Callable[[], None]) -> tuple[int, dict[str, object] | None]:
    """Fork; run `work` with `descriptors` at 0, 1, 2, the report at 3 and the pidfd at 4. What it
    reported. BottleError where this host has no process or descriptor left, which a keeper must survive."""
    try:
        report, report_end = os.pipe()
    except OSError as failure:
        raise _no_way_in(failure) from None

    def start() -> None:
        childhood.arrange_descriptors([*descriptors, report_end, pidfd], inheritable=len(descriptors))
        childhood.forget_signals()
        work()

    try:
        child = os.fork()
    except OSError as failure:
        os.close(report)
        os.close(report_end)
        raise _no_way_in(failure) from None
    if child == 0:
        childhood.run_child(start, lambda: _REPORT)
    os.close(report_end)
    try:
        os.waitpid(child, 0)
        said = childhood.read_all(report)
    finally:
        os.close(report)
    return understand(said)


def _no_way_in(failure: OSError) -> BottleError:
    return BottleError("cannot enter the bottle", why=os.strerror(failure.errno or 0),
                       do="end programs in it, or raise the limit it has met (ulimit -u, ulimit -n)")  # fmt: skip


def understand(said: bytes) -> tuple[int, dict[str, object] | None]:
    """(process born or 0, error or None) of a report."""
    mark, born = _BORN.unpack(said[: _BORN.size]) if said.startswith(_MARK) else (b"", 0)
    rest = said[_BORN.size :] if mark else said
    return born, json.loads(rest) if rest else None


def _go_in(command: Command, program: bytes) -> None:
    """The joining process: everything that needs rights, then a sibling inside that has those of its role, usually none."""
    command.bounds.take_in()
    ns.prctl(ns.PR_SET_DUMPABLE, 0)
    if os.geteuid() == 0:
        os.setgroups([])
    ns.setns(_PIDFD, _ALL)
    os.close(_PIDFD)
    _hide_mount_table()
    role = command.role
    if role.rights or os.getresuid() != (role.uid,) * 3 or os.getresgid() != (role.gid,) * 3:
        owners.become(role)
    ns.prctl(ns.PR_SET_DUMPABLE, 0)  # a change of uid resets it to whatever fs.suid_dumpable says
    ns.drop_capabilities(role.rights)
    ns.prctl(ns.PR_SET_NO_NEW_PRIVS, 1)
    _limit()
    told, tell = os.pipe()
    born = ns.clone_sibling()
    if born:
        os.write(_REPORT, _BORN.pack(_MARK, born))
        os.write(tell, b"t")
        os._exit(0)
    try:
        os.close(tell)
        os.read(told, 1)  # whatever we report comes after our own birth
        _execute(command, program)
    except OSError as failure:
        what = f"cannot run {command.argv[0]} in the bottle"
        error = BottleError(what, why=f"{failure.strerror}: {failure.filename or command.argv[0]}")
        os.write(_REPORT, json.dumps(error.to_dict()).encode())
    finally:
        os._exit(70)


def _hide_mount_table() -> None:
    """Stay in the bottle's tree of mounts, but belong to another namespace of mounts.

    /proc/*/mountinfo lists what is mounted in one's namespace below one's root, each bind with its path on the host (so
    the operator's name, contract §5). Where namespace and root have nothing in common, the list is empty. Whoever can
    undo this can mount.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ns.unshare(ns.CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
    finally:
        os.close(root)


def _execute(command: Command, program: bytes) -> None:
    os.setsid()
    if command.controlling_tty:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    ns.prctl(ns.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(command.cwd)
    command.bounds.apply()
    ns.install_filter(program)
    os.execve(command.argv[0], command.argv, dict(command.env))


def _limit() -> None:
    os.umask(0o022)
    # 1, not 0: only this keeps the kernel from handing a hostile core dump to a program of the host
    # (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def open_listener(holder_pidfd: int, port: int) -> socket.socket:
    """A listener on 0.0.0.0:`port` in the sandbox's network namespace. BottleError if the port is taken or
    invalid."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as problem:
        raise _no_way_in(problem) from None

    def work() -> None:
        ns.prctl(ns.PR_SET_DUMPABLE, 0)
        ns.setns(_PIDFD, ns.CLONE_NEWUSER | ns.CLONE_NEWNET)
        with socket.socket(fileno=0) as channel, opener.tcp_listener("0.0.0.0", port) as listener:
            socket.send_fds(channel, [b"l"], [listener.fileno()])

    with ours, theirs:
        _, failure = _fork_and_hear([theirs.fileno()] * 3, holder_pidfd, work)
        if failure:
            why = str(failure.get("why") or "")
            raise BottleError(f"cannot open port {port} in the bottle", why=why)
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        raise BottleError(f"cannot open port {port} in the bottle", why="the sandbox is gone")
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])
