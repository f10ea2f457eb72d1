"""Making a container that has been asked for a bottle: hear its first process, verify, hand over the listeners, fill it.

The keeper does not wait for the engine but for the container's first process, which connects to the keeper's
socket and is then led through its first moment. Nothing it says about its own confinement counts: capabilities, filter
and user are read from this host's /proc, the network through a socket of it, mounts by comparing what they lead to.
"""

from __future__ import annotations

import array
import fcntl
import hmac
import os
import select
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.backend import registration, tree
from claude_bottle.backend.docker import graft
from claude_bottle.backend.docker.control import Control, close_all
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.harness.base import HOME, WORKSPACE
from claude_bottle.state import ignore
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.disk_usage import Node
    from claude_bottle.backend.docker.begun import Asked, Recipe
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.backend.docker.starting import Starting

# For an engine to start a container, and for that to be heard of.
BOOT_SECONDS = 60.0
# Until it is asked whether a container that is not heard of is still there.
_LOOK_SECONDS = 1.0
_SIOCGIFCONF, _IFREQ = 0x8912, 40
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass
class Sandbox:
    """A running one. `cid` is its container's id; `first` its first process here, `pidfd` that process; `home` and `work`
    its volumes (work None: a host directory), `others` those of its image; `mounts` what of this host appears in it; `uid`
    its user here; `started` how it came up. The descriptors are owned here."""

    control: Control
    cid: str
    first: int
    pidfd: int
    home: int
    work: int | None
    others: tuple[int, ...]
    mounts: frozenset[Node]
    uid: int
    started: Starting

    def let_go(self) -> None:
        """Close every handle, once. Nothing can be fetched any more."""
        self.control.close()
        close_all([fd for fd in (self.pidfd, self.home, self.work, *self.others) if fd is not None])
        self.started.complaint()


def complete(engine: Engine, boot: Boot, asked: Asked) -> Sandbox:
    """A bottle whose first process waits for orders. Whatever is raised, the container may exist: remove it by label."""
    with ExitStack() as undo:
        undo.callback(asked.started.give_up)
        trusted = boot.bundle()  # the gate makes its part of it while the engine is at work
        control = Control(_accept(engine, asked))
        undo.callback(control.close)
        log.mark("first process connected")
        pidfd = _greet(engine, control, asked.recipe, asked.run_dir)
        undo.callback(os.close, pidfd)
        sandbox = _lead(control, boot, asked, pidfd, trusted)
        asked.run_dir.filled.touch()
        undo.pop_all()
    return sandbox


def _accept(engine: Engine, asked: Asked) -> socket.socket:
    started, listener, waiting = asked.started, asked.listener, select.poll()
    for fd in (listener.fileno(), started.fileno()):
        waiting.register(fd, select.POLLIN)
    ready = [fd for fd, _ in waiting.poll(BOOT_SECONDS * 1000)]
    if ready == [started.fileno()]:
        waiting.unregister(started.fileno())
        complaint = started.complaint()
        if complaint is not None:
            raise engine.failure(complaint)
        ready = _first_comes(engine, asked, waiting)
    if listener.fileno() not in ready:
        raise EnvironmentLacks(
            "the container did not become a bottle",
            why="its first process was not heard of: the engine runs elsewhere, or the image has no python3",
            do=f"{engine.program} context show; claude-bottle image build",
        )
    return listener.accept()[0]


def _first_comes(engine: Engine, asked: Asked, waiting: select.poll) -> list[int]:
    """The first process of a container that has been started, in `waiting`; nothing when it has not come for too long."""
    cid, deadline = asked.run_dir.cid(), time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        if ready := [fd for fd, _ in waiting.poll(_LOOK_SECONDS * 1000)]:
            return ready
        if _is_gone(engine, cid) and not waiting.poll(0):
            look = f"{engine.program} run --rm --entrypoint python3 {asked.recipe.container.image} -V"
            raise EnvironmentLacks("the container did not become a bottle", why="its first process ended without a word",
                                   do=f"{look}   is to say Python 3.9 or newer")  # fmt: skip
    return []


def _is_gone(engine: Engine, cid: str) -> bool:
    """Whether the engine says so, where it can be asked without a client."""
    answer = engine.ask("GET", f"/containers/{cid}/json") if cid else None
    return answer is not None and answer[0] == 404


def _greet(engine: Engine, control: Control, recipe: Recipe, run_dir: RunDir) -> int:
    """Make sure that this is our container's first process; a pidfd of it. The way in is closed whatever comes."""
    hello, fds = control.receive()
    close_all(fds)
    run_dir.shut()
    if hello.get("op") != "hello" or not hmac.compare_digest(str(hello.get("nonce")), recipe.nonce):
        raise BottleError("a stranger connected in the place of the bottle", why="it does not know the nonce")
    try:
        pidfd = os.pidfd_open(control.peer())
    except (OSError, ValueError):
        raise EnvironmentLacks("the bottle's first process cannot be seen from here",
                               why="the engine's containers run in another process space than this command",
                               do="run claude-bottle where the engine runs") from None  # fmt: skip
    cid, groups = run_dir.cid(), Path(f"/proc/{control.peer()}/cgroup").read_text()
    # Where an ordinary user has no control groups, a container has none of its own.
    named, found = bool(cid) and (cid in groups or engine.first_process(cid) == control.peer()), facts(control.peer())
    if not named or found["NSpid"].split()[-1] != "1":
        os.close(pidfd)
        raise BottleError("a stranger connected in the place of the bottle", why="it is not the container's first process")
    if found["Seccomp"] != "2":  # the engine's, told from the one that it adds itself once it is given its order
        os.close(pidfd)
        raise EnvironmentLacks("a layer of the bottle is not in force", why="the engine did not load the system call filter")
    return pidfd


def _lead(control: Control, boot: Boot, asked: Asked, pidfd: int, trusted: bytes) -> Sandbox:
    """Through its first moment, in which it is given the certificates that are `trusted` in it; then it is verified, then
    the gate gets its listeners, then its volumes are filled."""
    recipe, sources = asked.recipe, asked.sources
    private = recipe.container.private
    order = {"op": "setup", "uid": recipe.uid, "gid": recipe.gid, "network": boot.registration is not None,
             "ports": boot.ports, "own": [HOME, WORKSPACE] if private else [HOME], "mounts": list(sources),
             "volumes": recipe.container.others}  # fmt: skip
    bundle = _memory(trusted) if trusted else None
    control.send(order, (bundle,) if bundle is not None else ())
    if bundle is not None:
        os.close(bundle)
    ready, fds = control.receive()
    opened, listeners = len(order["own"]), list(ready.get("listeners") or ())  # type: ignore[arg-type]
    heard = opened + 1 + len(listeners)
    trees, sockets, others = fds[:opened], fds[opened:heard], fds[heard:]
    with ExitStack() as undo:
        undo.callback(close_all, trees + others)
        try:
            if ready.get("op") != "ready" or len(sockets) != 1 + len(listeners):
                raise EnvironmentLacks("the bottle could not set itself up", why=str(ready.get("why"))[:500])
            _verify(control.peer(), ready, sources, recipe.uid)
            _verify_network(sockets[0])
            if recipe.container.covered:
                graft.cover(pidfd, boot, (recipe.uid, recipe.gid))
            log.mark("bottle verified")
            if boot.registration is not None:
                registration.register(boot.registration, boot.nonce, listeners, sockets[1:])
                registration.await_acknowledgement(boot.registration)
        finally:
            close_all(sockets)
        _fill(trees, boot, recipe)
        undo.pop_all()
    mounts = frozenset((device, inode) for device, inode in sources.values())
    return Sandbox(control, asked.run_dir.cid(), control.peer(), pidfd, trees[0], trees[1] if private else None,
                   tuple(others), mounts, recipe.uid, asked.started)  # fmt: skip


def _memory(content: bytes) -> int:
    fd = os.memfd_create("bottle")
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def facts(process: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _verify(first: int, ready: dict[str, object], sources: dict[str, list[int]], uid: int) -> None:
    """The layers as the kernel reports them; EnvironmentLacks if one is missing."""
    found = facts(first)
    users = set(found["Uid"].split())
    demand_layers(found, one_user=len(users) == 1 and "0" not in users, read_only=ready.get("read_only"))
    if int(found["Uid"].split()[0]) != uid:
        raise EnvironmentLacks("this engine maps its containers' users to others", why=f"user {uid} became {found['Uid']}",
                               do='say "gate": "auto" in config.json')  # fmt: skip
    if ready.get("seen") != sources:
        raise EnvironmentLacks("a mount does not lead where it should", why="what appears in the bottle is something else",
                               do="name real paths that nobody changes meanwhile")  # fmt: skip


def demand_layers(found: Mapping[str, object], *, one_user: bool, read_only: object) -> None:
    """EnvironmentLacks for what a first process's `facts` do not say to be in force."""
    wrong = [name for name in _SETS if int(str(found.get(name, "1")), 16)]
    wrong += [name for name, value in (("NoNewPrivs", "1"), ("Seccomp", "2")) if found.get(name) != value]
    # Its own beside the engine's; kernels before 5.9 do not count them.
    wrong += ["Seccomp_filters"] if int(str(found.get("Seccomp_filters", 2))) < 2 else []
    wrong += ["Uid"] if not one_user else []
    wrong += ["read-only root"] if read_only is not True else []
    if wrong:
        raise EnvironmentLacks("a layer of the bottle is not in force", why=f"first process: {', '.join(wrong)}")


def _verify_network(witness: int) -> None:
    """No interface but loopback has an address, asked through a socket of that network."""
    room = array.array("B", bytes(64 * _IFREQ))
    request = bytearray(struct.pack("iL", len(room), room.buffer_info()[0]))
    fcntl.ioctl(witness, _SIOCGIFCONF, request)
    size = struct.unpack("iL", request)[0]
    names = {bytes(room[at : at + 16]).split(b"\0")[0].split(b":")[0] for at in range(0, size, _IFREQ)}
    if names - {b"lo"}:
        raise EnvironmentLacks("the bottle has a network of its own", why=f"interfaces: {sorted(names)}")


def _fill(trees: list[int], boot: Boot, recipe: Recipe) -> None:
    """What lies on this host becomes the content of the volumes: the home's, and the private workspace's."""
    owner = (recipe.uid, recipe.gid) if os.geteuid() == 0 else None
    for source, target in zip((boot.home, boot.copy_from or boot.workspace), trees, strict=False):
        ignored = ignore.read(str(source)) if source == boot.copy_from else ignore.Ignored(())
        copy = tree.Copy(owner=owner, ignored=ignored)
        with tree.opened(source) as directory:
            copy.whole(directory, target)
        copy.demand_all()
