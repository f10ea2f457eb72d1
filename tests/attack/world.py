"""The host the attack suite runs on: its own network, name server, hosts file and servers, all of them recording.

Everything of the product that is started in a `World` (command line, keeper, gate) is outside the bottle but inside this
world. What leaves a bottle can therefore go nowhere but into a recorder, and names lead where the test wants them to.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.attack.recorders import Certificates, NameServer, Servers
from tests.ordinary_user import readable_interpreter

if TYPE_CHECKING:
    from tests.docker_engine import Engine

PUBLIC = "93.184.216"
# Names and where they lead. Whether a bottle may reach them is the manifest's business.
API, OTHER, TUNNEL, PLAIN = "api.bottle.test", "other.bottle.test", "tunnel.bottle.test", "plain.bottle.test"
DATABASE = "database.bottle.test"
STRANGE = {"expired.bottle.test": "expired", "foreign.bottle.test": "self-signed", "misnamed.bottle.test": "wrong name"}
EVIL = "evil.test"
GIT = "git.bottle.test"
# Granted names whose addresses are not for bottles (threats.md 26, 31).
INWARD = {
    "loopback.bottle.test": ["127.0.0.1"], "linklocal.bottle.test": ["169.254.169.254"], "private.bottle.test": ["10.1.2.3"],
    "engine.bottle.test": ["172.17.0.1"], "shared.bottle.test": ["100.64.0.1"], "zero.bottle.test": ["0.0.0.0"],
    "loopback6.bottle.test": ["::1"], "mapped.bottle.test": ["::ffff:10.1.2.3"], "nat64.bottle.test": ["64:ff9b::a9fe:a9fe"],
    "sixtofour.bottle.test": ["2002:a01:203::1"], "local6.bottle.test": ["fc00::1"],
}  # fmt: skip
REBOUND = "rebound.bottle.test"
# Granted, but it exists only in the search domain that the host's resolv.conf names.
ABSENT = "absent.bottle.test"


@dataclass(frozen=True)
class Entry:
    """How to run a command in the world: what stands before it."""

    prefix: tuple[str, ...]

    def argv(self, person_prefix: tuple[str, ...], cwd: Path, command: list[str]) -> list[str]:
        return [*self.prefix, "env", "-C", str(cwd), *person_prefix, *command]


class World:
    """`place` receives its files; `close` ends it and its namespaces."""

    def __init__(self, place: Path) -> None:
        self.certificates = Certificates(STRANGE)
        self.ca_file = place / "world-ca.pem"
        self.ca_file.write_bytes(self.certificates.ca.cert_pem.bytes())
        resolver = f"nameserver 127.0.0.1\nsearch {EVIL}\noptions ndots:15 timeout:30\n"
        files = {"hosts": "127.0.0.1 localhost\n", "resolv.conf": resolver}
        for name, text in files.items():
            (place / name).write_text(text)
            (place / name).chmod(0o644)
        self._begin(*(f"/etc/{name}={place / name}" for name in files))
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        self.entry = Entry(("nsenter", f"--target={self._holder.pid}", *user, "--net", "--mount", "--"))

    def _begin(self, *words: str) -> None:
        """A host of its own, as `namespaces` makes it from these words, with servers on it."""
        self._channel, theirs = socket.socketpair()
        python = readable_interpreter(()) or sys.executable
        script = Path(__file__).with_name("namespaces.py")
        self._holder = subprocess.Popen(
            [python, "-I", str(script), str(theirs.fileno()), *words], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        sockets = self._receive()
        self._packets, self._abstract = sockets.pop("packets"), sockets.pop("abstract")
        self.names = NameServer(sockets.pop("dns"), book())
        self.servers = Servers({int(name.split()[1]): one for name, one in sockets.items()}, self.certificates)

    def _receive(self) -> dict[str, socket.socket]:
        message, descriptors, _, _ = socket.recv_fds(self._channel, 65536, 64)
        if not message:
            raise RuntimeError(f"no namespaces for the attack suite (exit {self._holder.wait()})")
        sockets = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        return dict(zip(json.loads(message), sockets, strict=True))

    def clear(self) -> None:
        """Forget what arrived so far."""
        self.servers.clear()
        self.names.clear()
        self.packets()

    def packets(self) -> list[bytes]:
        """What moved on this host's network since last asked: whole frames."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._packets.recv(65536, socket.MSG_DONTWAIT))
        return found

    def left(self) -> list[int]:
        """Processes that still run on this host, but the one that holds it."""
        here, found = os.readlink(f"/proc/{self._holder.pid}/ns/net"), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self._holder.pid:
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "ns/net") == here:
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.left():  # a test that broke off left them; a keeper takes its bottle and gate with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self.servers.close()
        self.names.close()
        self._packets.close()
        self._abstract.close()
        self._channel.close()
        self._holder.wait()


class Beside(World):
    """The same world for gates that run in containers: on the engine's side, in the network of a container that has none of
    its own. A gate is led there instead of to the engine's bridge by a client that says another network; whoever starts it is
    still in the world of this host, whose own servers see nothing of it."""

    def __init__(self, world: World, engine: Engine, image: str, place: Path) -> None:
        self.certificates, self.ca_file, self.entry, self._host, self._engine = (
            world.certificates, world.ca_file, world.entry, world, engine
        )  # fmt: skip
        self._name = f"cb-{place.name}"
        resolver = ("--dns=127.0.0.1", f"--dns-search={EVIL}", "--dns-option=ndots:15", "--dns-option=timeout:30")
        engine.docker("run", "--detach", f"--name={self._name}", "--network=none", *resolver, image, "sleep", "infinity")
        self._begin(engine.docker("inspect", "--format={{.State.Pid}}", self._name))
        self.client = place / "client"
        self.client.mkdir()
        script = _LEADING.format(network=f"container:{self._name}", client=shutil.which("docker"))
        (self.client / "docker").write_text(script)
        (self.client / "docker").chmod(0o755)

    def left(self) -> list[int]:
        return self._host.left()

    def kill(self, container: str) -> None:
        self._engine.docker("kill", container)

    def close(self) -> None:
        self._end()
        self._engine.docker("rm", "--force", self._name)


# Of a network that is another container's, an engine takes no name and no hosts beside it.
_LEADING = """#!/bin/bash
words=()
for word in "$@"; do
    case $word in
    --network=bridge) words+=("--network={network}") ;;
    --hostname=gate | --add-host=engines-host.internal:*) ;;
    *) words+=("$word") ;;
    esac
done
exec {client} "${{words[@]}}"
"""


def book() -> dict[str, list[str]]:
    """The name server's entries."""
    outward = [API, OTHER, TUNNEL, PLAIN, DATABASE, *STRANGE, EVIL, f"www.{EVIL}", f"{ABSENT}.{EVIL}", GIT]
    return {name: [f"{PUBLIC}.{number}"] for number, name in enumerate(outward, 10)} | INWARD
