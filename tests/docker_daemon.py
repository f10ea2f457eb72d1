"""A docker daemon that belongs to the tests: `python -m tests.docker_daemon DIRECTORY` owns one and ends it.

The daemon has a network namespace (slirp4netns is its way out), a mount namespace, directories and a socket of its own,
so no other daemon's bridge or firewall rules are touched and nothing can be left mounted. Whoever uses it holds a
connection to DIRECTORY/users; when the last one is closed, by a killed process too, all of it is ended by process id
and removed. What even this process left behind (SIGKILL) is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Members of this group (a number without a name) may use the daemon: `setpriv --groups 61999`.
GROUP = 61999
NEEDED = ("dockerd", "docker", "runc", "iptables", "slirp4netns", "unshare", "nsenter")
PATIENCE = 120.0
LAST_REMOVAL = 20.0
_GOES = re.compile(r"container |volume [0-9a-f]{64}$")
USERS = "users"
SYSTEM = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"}


MEMORY = Path("/dev/shm")
ROOM = 6 << 30
# A directory that holds this name gets a daemon that gives its containers' users other ids: see `own_engine`.
REMAP = "remap"
FIRST_ID = 200000
PLAIN = os.ST_NOEXEC | os.ST_NOSUID | os.ST_NODEV


class CannotStart(Exception):
    """Why there is no daemon, in one line."""


class Daemon:
    """One dockerd and everything below it. `place` is a new directory with a short path. `remapped`: uid 0 of a container
    is FIRST_ID here."""

    def __init__(self, place: Path, *, remapped: bool = False) -> None:
        self.place, self.remapped = place, remapped
        self.host = f"unix://{place}/docker.sock"
        self.environment = {**os.environ, **SYSTEM, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(place / "client")}
        for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            self.environment.pop(name, None)
        self.process: subprocess.Popen[bytes] | None = None
        self.exit: subprocess.Popen[bytes] | None = None
        self.space: subprocess.Popen[bytes] | None = None
        (place / "client").mkdir()

    def start(self) -> None:
        missing = [name for name in NEEDED if shutil.which(name, path=self.environment["PATH"]) is None]
        if missing:
            raise CannotStart(f"not installed: {', '.join(missing)}")
        if self.space is None:
            self._open_namespaces()
        assert self.space
        log = (self.place / "dockerd.log").open("ab")
        inside = ["nsenter", "--target", str(self.space.pid), "--net", "--mount", "--wd=/", "--"]
        # The MTU of the way out; the resolver is slirp4netns's, which asks whom this machine asks.
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "dockerd.pid", "config-file": "daemon.json"}
        options = [f"--{option}={self.place}/{name}" for option, name in places.items()]
        options += [f"--host={self.host}", f"--group={GROUP}", "--mtu=1400", "--dns=10.0.2.3", "--shutdown-timeout=2"]
        command = [*inside, "dockerd", *options]
        settings = {"userns-remap": "nobody:nogroup"} if self.remapped else {}
        (self.place / "daemon.json").write_text(json.dumps(settings))
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        log.close()
        self._wait_for(self._answers, self.process, "dockerd")

    def end_dockerd(self, number: int) -> None:
        """End the daemon alone, as an engine that is upgraded (SIGTERM) or crashes (SIGKILL)."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # containerd died with it, but where pid 1 does not reap, the next dockerd would take its id for a living one.
        (self.place / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        if number == signal.SIGTERM:
            # What outlives an orderly end, such as a shim.
            end_everything_of(self.place / "exec")

    def end(self) -> None:
        try:
            self.end_dockerd(signal.SIGTERM)
        finally:
            end_everything_of(self.place)
            for process in (self.process, self.exit, self.space):
                if process:
                    process.wait()
            remove(self.place)

    def left_over(self) -> list[str]:
        """Containers, volumes, networks and images that no test removed. Images named by their content may stay: they are
        a cache, the tests' own (`claude-bottle-tests/…`) and the product's. What the daemon removes by itself (a container,
        then its volumes without a name) has time to go."""
        deadline = time.monotonic() + LAST_REMOVAL
        while any(map(_GOES.match, found := self._held())) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def _held(self) -> list[str]:
        found = [f"container {line}" for line in self._list("ps", "--all", "--format", "{{.Names}} of {{.Image}}")]
        found += [f"volume {name}" for name in self._list("volume", "ls", "--quiet")]
        networks = self._list("network", "ls", "--format", "{{.Name}}")
        found += [f"network {name}" for name in networks if name not in ("bridge", "host", "none")]
        names = ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
        kept = set(self._list(*names, "--filter", "label=claude-bottle.recipe"))
        images = [name for name in self._list(*names) if not name.startswith("claude-bottle-tests/")]
        return found + [f"image {name}" for name in images if name not in kept]

    def _list(self, *words: str) -> list[str]:
        return self._client(*words).stdout.decode().split("\n")[:-1]

    def _client(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["docker", *words], env=self.environment, capture_output=True, check=False, timeout=60)

    def _answers(self) -> bool:
        return self._client("info").returncode == 0

    def _open_namespaces(self) -> None:
        # What is mounted on the host later is seen by the daemon; what it mounts is not seen by the host.
        # It names the place, as slirp4netns does below: so is it found when its owner was killed.
        wait = ["sh", "-c", "while sleep 86400; do :; done", f"{self.place}/space"]
        command = ["unshare", "--net", "--mount", "--propagation", "slave", *wait]
        self.space = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=self.environment)
        mine = os.readlink("/proc/self/ns/net")
        self._wait_for(lambda: os.readlink(f"/proc/{self.space.pid}/ns/net") != mine, self.space, "unshare")  # type: ignore[union-attr]
        ready, tell = os.pipe()
        options = ["--configure", "--mtu=1400", f"--ready-fd={tell}", f"--api-socket={self.place}/way-out.socket"]
        command = ["slirp4netns", *options, str(self.space.pid), "tap0"]
        with (self.place / "slirp4netns.log").open("wb") as log:
            self.exit = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(tell,), env=self.environment
            )
        os.close(tell)
        with os.fdopen(ready, "rb") as answer:
            if answer.read() != b"1":
                raise CannotStart(f"slirp4netns: {last_line(self.place / 'slirp4netns.log')}")
        if self.remapped:
            self._grant_ids()

    def _grant_ids(self) -> None:
        """Subordinate ids as this machine's files would have them, in the daemon's own mount namespace."""
        for name in ("subuid", "subgid"):
            granted = self.place / name
            granted.write_text("".join(f"{who}:{FIRST_ID}:65536\n" for who in ("nobody", "nogroup")))
            granted.chmod(0o644)
            into = ["nsenter", "--target", str(self.space.pid), "--mount", "--"]  # type: ignore[union-attr]
            done = subprocess.run([*into, "mount", "--bind", granted, f"/etc/{name}"], capture_output=True, check=False)
            if done.returncode:
                raise CannotStart(f"no ids to map to: {done.stderr.decode(errors='replace').strip()}")

    def _wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"{name}: {last_line(self.place / f'{name}.log')}")
            time.sleep(0.05)


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1] if lines else "ended without a word"


def end_everything_of(marker: Path) -> None:
    """SIGKILL, by id, to each process that names this directory (daemon, containerd, shims) and all their children."""
    deadline = time.monotonic() + 20
    while (found := processes_of(marker)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def processes_of(marker: Path) -> set[int]:
    needle, parents, found = os.fsencode(marker), {}, set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
                if needle in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def remove(place: Path) -> None:
    """A daemon's directory, once its mount namespace is gone (the kernel takes a moment to let go of it)."""
    deadline = time.monotonic() + 20
    while place.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(place)
        if time.monotonic() > deadline:
            break
        if place.exists():
            time.sleep(0.1)


def roomy() -> Path:
    """Where the daemon's data goes: into memory where there is plenty (five times faster), else among temporary files.
    Either is a plain directory of the host, as a daemon's usually is."""
    with contextlib.suppress(OSError):
        memory, free = os.statvfs(MEMORY), Path("/proc/meminfo").read_text()
        available = int(free.partition("MemAvailable:")[2].split()[0]) << 10
        if memory.f_bavail * memory.f_frsize > ROOM and available > 2 * ROOM and not memory.f_flag & PLAIN:
            return MEMORY
    return Path(tempfile.gettempdir())


def sweep() -> None:
    """Remove what earlier owners left that were killed: no process holds their `alive` any more."""
    for place in [*Path(tempfile.gettempdir()).glob("cb-docker-*"), *MEMORY.glob("cb-docker-*")]:
        with contextlib.suppress(OSError):
            if place.lstat().st_uid != os.geteuid() or place.is_symlink():
                continue
            with (place / "alive").open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end_everything_of(place)
                remove(place)


def serve(directory: Path) -> None:
    """Start a daemon, say so on stdout, own it until its last user is gone."""
    made = Path(tempfile.mkdtemp(prefix="cb-new-docker-", dir=roomy()))
    # The group may pass through to the socket, and to nothing else.
    os.chown(made, -1, GROUP)
    remapped = (directory / REMAP).exists()
    made.chmod(0o711 if remapped else 0o710)
    with (made / "alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        # Now that it is held it may be seen: see `sweep`.
        place = made.rename(made.with_name(made.name.replace("new-", "")))
        daemon, last = Daemon(place, remapped=remapped), None
        try:
            daemon.start()
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(directory / USERS))
                listener.listen()
                print("ready", flush=True)
                if last := serve_users(daemon, listener, directory / USERS):
                    tell(last, {"left_over": daemon.left_over()})
        finally:
            daemon.end()
            if last:
                last.close()


def serve_users(daemon: Daemon, listener: socket.socket, path: Path) -> socket.socket | None:
    """Until nobody is connected any more; the first has PATIENCE to come. A request is one line of JSON.

    Returns the last one's connection: it hears what is left over, and may wait for this process to end."""
    waiting, users = selectors.DefaultSelector(), 0
    waiting.register(listener, selectors.EVENT_READ)
    while ready := waiting.select(None if users else PATIENCE):
        for key, _ in ready:
            if key.fileobj is listener:
                user, _ = listener.accept()
                users += 1
                waiting.register(user, selectors.EVENT_READ)
                tell(user, {"host": daemon.host, "group": GROUP, "place": str(daemon.place)})
                continue
            user = key.fileobj  # type: ignore[assignment]
            try:
                request = user.recv(4096)
            except OSError:
                request = b""
            if request:
                tell(user, answer(daemon, json.loads(request)))
            else:
                waiting.unregister(user)
                users -= 1
                if not users:
                    # Before the listener closes: whoever finds no path starts another; whoever still came in hears EOF.
                    path.unlink()
                    return user
                user.close()
    path.unlink()
    return None


def answer(daemon: Daemon, request: dict[str, Any]) -> dict[str, Any]:
    """What a test of faults asks for: the daemon's end by a signal and, if it likes, another start."""
    daemon.end_dockerd(request["signal"])
    try:
        if request["start"]:
            daemon.start()
    except CannotStart as problem:
        return {"problem": str(problem)}
    return {}


def tell(user: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        user.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(sys.argv[1])
    sweep()
    try:
        serve(directory)
    except CannotStart as problem:
        print(problem, flush=True)


if __name__ == "__main__":
    main()
