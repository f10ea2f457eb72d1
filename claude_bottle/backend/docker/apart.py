"""Starting a bottle on an engine that may run on another machine: no descriptor, directory or /proc is shared with it.

The container's first process talks over its client's stdin and stdout; its gate meets it in a volume that both mount.
Since nothing of it can be looked at from here, the layers are verified twice: by what the kernel told that process of
itself before anything foreign ran, and by what the engine says it was made with. Volumes are filled through the engine.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle import log
from claude_bottle.backend.docker import argv, graft, seeding
from claude_bottle.backend.docker.begun import identify
from claude_bottle.backend.docker.launcher import BOOT_SECONDS, demand_layers, facts
from claude_bottle.backend.docker.wire import Wire
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.harness.base import HOME, WORKSPACE
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.proc import Popen

_SAID_LIMIT = 4096


@dataclass
class Attached:
    """A running one. `client` is the engine's client that its first process talks through, `pidfd` that client; `first`
    the first process's id on this host, 0 where it is on another. The descriptors are owned here."""

    wire: Wire
    client: Popen[bytes]
    pidfd: int
    cid: str
    first: int
    private: bool

    def let_go(self) -> None:
        self.wire.let_go()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
            self.client.wait(BOOT_SECONDS)


@dataclass(frozen=True)
class Recipe:
    """How to start: the container's words and who the bottle's user is. `here`: the engine's kernel is this one;
    `grouped`: it gives its containers control groups."""

    container: argv.Container
    uid: int
    gid: int
    here: bool
    grouped: bool = True


def start(engine: Engine, boot: Boot, recipe: Recipe, run_dir: RunDir) -> Attached:
    """A bottle whose first process waits for orders. Whatever is raised, the container may exist: remove it by label."""
    sources = {mount.target: identify(mount) for mount in recipe.container.mounts}
    private = recipe.container.private
    order = {"op": "setup", "uid": recipe.uid, "gid": recipe.gid, "network": boot.registration is not None,
             "ports": boot.ports, "nonce": boot.nonce, "own": [HOME, WORKSPACE] if private else [HOME],
             "mounts": list(sources)}  # fmt: skip
    with ExitStack() as undo:
        ours, theirs = socket.socketpair()
        ours.settimeout(BOOT_SECONDS)
        errors = os.memfd_create("client")
        undo.callback(os.close, errors)
        client = engine.popen(argv.run(recipe.container), stdin=theirs, stdout=theirs, stderr=errors)
        theirs.close()
        undo_all = undo.enter_context(ExitStack())
        undo_all.callback(client.wait)
        undo_all.callback(client.kill)
        wire = Wire(ours)
        undo_all.callback(wire.let_go)
        ready = _first_words(engine, wire, {**order, "bundle": boot.bundle().decode("ascii", "replace")}, client, errors)
        log.mark("first process ready")
        _verify(ready, sources if recipe.here else None, recipe.uid)
        cid = run_dir.cid()
        first = _verify_made(engine, cid, recipe)
        if recipe.container.covered:
            _graft(first, boot)
        log.mark("bottle verified")
        seeding.fill(wire, boot.home, ignoring=False)
        if private:
            seeding.fill(wire, boot.copy_from or boot.workspace, ignoring=boot.copy_from is not None)
        wire.run()
        undo_all.pop_all()
        run_dir.filled.touch()
        return Attached(wire, client, os.pidfd_open(client.pid), cid, first, private)


def _first_words(
    engine: Engine, wire: Wire, order: dict[str, Any], client: Popen[bytes], errors: int
) -> dict[str, Any]:
    try:
        wire.say(order)
        ready = wire.hear(BOOT_SECONDS)
    except (OSError, BottleError) as silence:
        client.kill() if isinstance(silence, TimeoutError) else None
        said = os.pread(errors, _SAID_LIMIT, 0)
        if client.wait(BOOT_SECONDS) != 0 and said:
            raise engine.failure(said) from None
        raise EnvironmentLacks("the container did not become a bottle", why="its first process was not heard of",
                               do="claude-bottle image build") from silence  # fmt: skip
    if ready.get("op") == "refused":
        raise BottleError("the gate refused the bottle's listeners", why=str(ready.get("why"))[:500])
    if ready.get("op") != "ready":
        raise EnvironmentLacks("the bottle could not set itself up", why=str(ready.get("why"))[:500])
    return ready


def _verify(ready: dict[str, Any], sources: dict[str, list[int]] | None, uid: int) -> None:
    """What the kernel told it of itself; EnvironmentLacks if a layer is missing. `sources` None: mounts cannot be
    compared with what is on this machine."""
    found = ready.get("facts") or {}
    demand_layers(found, one_user=str(found.get("Uid", "0")).split() == [str(uid)] * 4, read_only=ready.get("read_only"))
    if ready.get("devices") != ["lo"]:
        raise EnvironmentLacks("the bottle has a network of its own", why=f"interfaces: {ready.get('devices')}")
    if sources is not None and ready.get("seen") != sources:
        raise EnvironmentLacks("a mount does not lead where it should", why="what appears in the bottle is something else",
                               do="name real paths that nobody changes meanwhile")  # fmt: skip


def _graft(first: int, boot: Boot) -> None:
    if not first:
        raise EnvironmentLacks(f"cannot show {boot.workspace} in a bottle there",
                               why="it belongs to root, and the engine's containers are not on this machine",
                               do="work on a copy (--cwd), or start the bottle as an ordinary user")  # fmt: skip
    pidfd = os.pidfd_open(first)
    # Who the bottle's user is on this host, which need not be who it is inside.
    uid, gid = (int(facts(first)[kind].split()[0]) for kind in ("Uid", "Gid"))
    try:
        graft.cover(pidfd, boot, (uid, gid))
    finally:
        os.close(pidfd)


def _verify_made(engine: Engine, cid: str, recipe: Recipe) -> int:
    """What the engine says it made, which must be what was asked for; its first process's id here, 0 if that is
    elsewhere."""
    result = engine.run(["inspect", "--format={{json .HostConfig}} {{.State.Pid}}", "--", cid])
    text, _, pid = result.out.decode().strip().rpartition(" ")
    host = json.loads(text)
    added = {str(name).removeprefix("CAP_") for name in host.get("CapAdd") or ()}
    options = [str(option) for option in host.get("SecurityOpt") or ()]
    asked = {
        "network": host.get("NetworkMode") == "none",
        "capabilities": "ALL" in (host.get("CapDrop") or ()) and added <= set(argv.FIRST_MOMENT),
        "privileged": host.get("Privileged") is False,
        "read-only root": host.get("ReadonlyRootfs") is True,
        "no new privileges": any(option.startswith("no-new-privileges") for option in options),
        "system call filter": any(option.startswith("seccomp=") and "unconfined" not in option for option in options),
        "process space": host.get("PidMode") == "" and host.get("IpcMode") == "private" and host.get("UTSMode") == "",
        "devices": not host.get("Devices") and not host.get("DeviceRequests"),
        "published ports": not host.get("PortBindings") and not host.get("PublishAllPorts"),
        "limits": all(host.get(key) for limit in recipe.container.limits if limit.enforced
                      for key in _LIMITS.get(limit.name, ())),
    }  # fmt: skip
    wrong = [name for name, right in asked.items() if not right]
    if wrong:
        raise EnvironmentLacks("a layer of the bottle is not in force", why=f"the engine made it without: {', '.join(wrong)}")
    return _here(int(pid), cid if recipe.grouped else "") if recipe.here else 0


_LIMITS = {"memory": ("Memory",), "pids": ("PidsLimit",), "cpus": ("NanoCpus",)}


def _here(pid: int, cid: str) -> int:
    """`pid` if it is, to this host too, the first process of that container; else 0. `cid` "": nothing here says whose it
    is."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        return pid if cid in groups and facts(pid)["NSpid"].split()[-1] == "1" else 0
    except (OSError, KeyError):
        return 0
