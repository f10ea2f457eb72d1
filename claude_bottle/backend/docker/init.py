"""A container's first process: sets up the bottle's network, drops everything, and starts programs for the keeper.

Standalone, with messages.py and libc.py beside it, for any image with Python 3.9, run as `python3 -I -S`; it may touch this
container and the one connection it makes to the keeper. Before the agent exists it has five capabilities of its own
namespaces; afterwards it is the agent's user with none, and pid 1, so no signal from inside reaches it, nor any change of its
priority. Losing the keeper ends it, and the kernel then ends everything else; whatever it says is checked by the keeper.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

if __package__:
    from claude_bottle.backend.docker import libc
    from claude_bottle.backend.docker.libc import checked
    from claude_bottle.backend.docker.messages import hear, loads, say, signal, socket
else:  # in the container
    import libc  # type: ignore[import-not-found, no-redef]
    from libc import checked  # type: ignore[no-redef]
    from messages import hear, loads, say, signal, socket  # type: ignore[import-not-found, no-redef]

TYPE_CHECKING = False  # typing's own costs 3 ms of every start
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Message = dict[str, Any]

PLACE = "/run/bottle"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
BACKLOG, PROXY_PORT = 1024, 3128
RANGE_ADDRESS, RANGE_MASK = "198.18.0.1", "255.254.0.0"  # RFC 2544: never on the internet

# linux/sockios.h, linux/prctl.h, linux/capability.h, asm-generic/ioctls.h
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _IFF_UP_RUNNING = 0x8914, 0x8916, 0x891C, 0x1 | 0x40
_SET_DUMPABLE, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _AMBIENT, _AMBIENT_CLEAR = 4, 24, 38, 47, 4
_SET_SECCOMP, _SECCOMP_FILTER = 22, 2
_CAPABILITY_VERSION_3, _TIOCSCTTY, _TIOCSPTLCK, _TIOCGPTPEER = 0x20080522, 0x540E, 0x40045431, 0x5441
_SIGINFO = struct.Struct("=IiiI112x")  # signalfd(2): number, errno, code, sender, …
_prctl = libc.call("prctl")


def set_up(control: socket.socket) -> None:
    """The first moment: everything that needs a capability, then the loss of all of them."""
    order, fds = hear(control)
    listeners = []
    if order["network"]:
        bring_up_loopback()
        listeners = open_listeners(order["ports"])
    trees = [give_away(path, order["uid"], order["gid"]) for path in order["own"]]
    if fds:
        with open(fds[0], "rb") as bundle, open(CA_BUNDLE, "wb") as file:
            file.write(bundle.read())
    seen = {path: [found.st_dev, found.st_ino] for path, found in ((path, os.stat(path)) for path in order["mounts"])}
    root = bool(os.statvfs("/").f_flag & os.ST_RDONLY)
    drop(order["uid"], order["gid"])
    volumes = [found for found in map(reachable, order["volumes"]) if found >= 0]
    # One socket more, so that the keeper can look at this network from outside, listeners or none.
    witness = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    passed = trees + [one.detach() for one in [witness] + [listener for _, listener in listeners]] + volumes
    say(control, passed, op="ready", listeners=[name for name, _ in listeners], seen=seen, read_only=root)
    for fd in passed:
        os.close(fd)


def give_away(path: str, uid: int, gid: int) -> int:
    """Make a fresh volume the agent's; a descriptor of it, through which the keeper fills and reads it."""
    os.chown(path, 0, 0)  # podman makes it the user's whose directory the image has there
    os.chmod(path, 0o755)
    os.chown(path, uid, gid)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def reachable(path: str) -> int:
    """A descriptor of a directory, for whoever may read it; -1 for one that nobody in here gets to."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def bring_up_loopback() -> None:
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))
    for request, address in ((_SIOCSIFADDR, RANGE_ADDRESS), (_SIOCSIFNETMASK, RANGE_MASK)):
        sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control.fileno(), request, struct.pack("16s16s8x", b"lo:0", sockaddr))
    control.close()


def open_listeners(ports: list[int]) -> list[tuple[str, socket.socket]]:
    """The same listeners, in the same order, as in every other place a bottle runs."""
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 53))
    found = [("dns-udp", dns), ("dns-tcp", listen("127.0.0.1", 53)), ("http", listen("0.0.0.0", 80))]
    found += [("https", listen("0.0.0.0", 443)), ("proxy", listen("127.0.0.1", PROXY_PORT))]
    return found + [(f"port-{port}", listen("0.0.0.0", port)) for port in sorted({*ports} - {53, 80, 443, PROXY_PORT})]


def listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener


def drop(uid: int, gid: int) -> None:
    """No capability in any set, no way to gain one, the agent's user, and nobody may look into this process."""
    if uid == 0 or gid == 0:
        raise PermissionError(errno.EPERM, "a bottle has no root user")
    checked(libc.call("setrlimit")(4, struct.pack("LL", 1, 1)))  # RLIMIT_CORE; why 1: see `argv`
    number = 0
    while _prctl(_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    checked(libc.call("capset")(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)))
    checked(_prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(_prctl(_SET_DUMPABLE, 0, 0, 0, 0))
    protect()
    os.umask(0o022)


def protect() -> None:
    """What the kernel would let an agent do to this process, whose user it has: no longer, for every child too. Beside the
    engine's filter, which has let it happen until now."""
    with open(f"{os.path.dirname(os.path.abspath(__file__))}/first_{os.uname().machine}.bpf", "rb") as file:
        content = file.read()
    instructions = libc.Buffer(content)
    checked(_prctl(_SET_SECCOMP, _SECCOMP_FILTER, struct.pack("@HP", len(content) // 8, instructions.address), 0, 0))


def describe(failure: OSError) -> str:
    return f"{failure.strerror}: {failure.filename}" if failure.filename else str(failure.strerror)


def execute(order: Message, stdio: list[int], status: socket.socket) -> NoReturn:
    """The child's side of a fork, up to exec. What fails before is told; what fails at exec ends as a shell would."""
    try:
        # Those that Python changes, and what an engine without a daemon passed on from `nohup`.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:
                pass  # one that the C library keeps for itself
        parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in stdio]
        for place, fd in enumerate(parked):
            os.dup2(fd, place)
        os.setsid()
        if order["tty"]:
            fcntl.ioctl(0, _TIOCSCTTY, 0)
        os.chdir(order["cwd"])
        say(status, op="born")
        os.closerange(3, 4096)  # all of them are closed by exec too
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        become(order["argv"], order["env"])
    except OSError as failure:
        say(status, op="failed", why=describe(failure))
    finally:
        os._exit(126)


def become(argv: list[str], env: dict[str, str]) -> None:
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as failure:
        if failure.errno == errno.ENOEXEC:
            os.execve("/bin/sh", ["sh", *argv], env)  # execvp(3): a script without #!
        os.write(2, f"{argv[0]}: {failure.strerror}\n".encode("utf-8", "replace"))
        os._exit(127 if failure.errno == errno.ENOENT else 126)


class Init:
    """The serving part. `children` maps a program's pid to its status socket."""

    def __init__(self, control: socket.socket) -> None:
        self.control, self.closed = control, False
        self.children: dict[int, socket.socket] = {}
        watched = {signal.SIGCHLD, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        mask = sum(1 << (number - 1) for number in watched)
        self.signals = checked(libc.call("signalfd")(-1, struct.pack("=Q120x", mask), os.O_CLOEXEC | os.O_NONBLOCK))
        self.poll = select.poll()
        for fd in (control.fileno(), self.signals):
            self.poll.register(fd, select.POLLIN)

    def serve(self) -> NoReturn:
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.control.fileno():
                    self.answer(*hear(self.control))
                elif fd == self.signals:
                    self.signalled()
                else:
                    self.obey(fd)

    def answer(self, order: Message, fds: list[int]) -> None:
        """Every request gets one answer that carries its number."""
        try:
            say(self.control, getattr(self, "do_" + order["op"])(order, fds), op="done", n=order["n"])
        except OSError as failure:
            say(self.control, op="failed", n=order["n"], why=describe(failure))
        finally:
            for fd in fds:
                os.close(fd)

    def do_spawn(self, order: Message, fds: list[int]) -> list[int]:
        if self.closed:
            raise OSError(errno.ESHUTDOWN, "it is being taken down")
        with open(fds[0], "rb", closefd=False) as file:
            command = loads(file.read())
        status = socket.socket(fileno=os.dup(fds[4]))
        pid = os.fork() or execute(command, fds[1:4], status)
        self.children[pid] = status
        self.poll.register(status.fileno(), select.POLLIN)
        return []

    def do_open_port(self, order: Message, fds: list[int]) -> list[int]:
        fds.append(listen("0.0.0.0", order["port"]).detach())
        return fds

    def do_open_pty(self, order: Message, fds: list[int]) -> list[int]:
        fds.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        fcntl.ioctl(fds[-1], _TIOCSPTLCK, bytes(4))
        fds.append(fcntl.ioctl(fds[-1], _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return fds

    def signalled(self) -> None:
        number, _, code, sender = _SIGINFO.unpack(os.read(self.signals, _SIGINFO.size))
        # From outside this container, by kill(2), where no sender can be made up: the engine asks it to end.
        if number == signal.SIGTERM and (code, sender) == (0, 0):
            self.closed = True
            try:
                os.kill(-1, signal.SIGTERM)
            except ProcessLookupError:
                pass  # there is nobody; see `reap`
        while self.reap():
            pass

    def reap(self) -> bool:
        """Collect one dead child, telling whoever waits for it; False when there is none."""
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if self.closed:
                os._exit(0)
            return False
        if pid in self.children:
            status = self.children.pop(pid)
            try:
                self.poll.unregister(status.fileno())
                say(status, op="exit", code=os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code))
            except (OSError, KeyError):
                pass  # nobody waits any more
        return pid != 0

    def obey(self, fd: int) -> None:
        """A signal for one program, while it is uncollected and its number therefore its own."""
        for pid, status in self.children.items():
            if status.fileno() == fd:
                try:
                    data = status.recv(4096)
                except ConnectionResetError:  # in the midst of what it was told (unix(7))
                    data = b""
                if not data:
                    self.poll.unregister(fd)  # its keeper has lost interest
                    return
                wanted = loads(data)
                (os.killpg if wanted["group"] else os.kill)(pid, wanted["signal"])


def deafen() -> None:
    """No signal from inside ends this process: only what it has a handler for reaches a first process, and Python has one
    for SIGINT, at which it would end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """One connection to the keeper, greeted with the nonce that only this container was given."""
    deafen()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(PLACE + "/init.sock")
    with open(PLACE + "/nonce") as file:
        say(control, op="hello", nonce=file.read())
    try:
        set_up(control)
    except OSError as failure:
        say(control, op="failed", why=describe(failure))
        raise
    Init(control).serve()


if __name__ == "__main__":
    main()
