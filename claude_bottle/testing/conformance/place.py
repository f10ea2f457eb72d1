"""What a check stands on: a backend, private directories, a gate's part, and programs whose output is read.

It drives a backend through its public contract only (`backend.base`), as the keeper does: from the main thread, with
descriptors of its own. Every wait has an end. It touches the directory it is given and what the backend makes.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from claude_bottle.backend.base import BASE_ENV, Backend, Boot, Bottle, BottleSpec, Outlet, Process
from claude_bottle.manifest import Manifest
from claude_bottle.model.capability import Capability
from claude_bottle.model.names import new_identity
from claude_bottle.model.plan import BottlePlan, Mount
from claude_bottle.state.paths import Paths
from claude_bottle.testing.conformance.remote_gate import RemoteGate, RemoteSocket

SECONDS = 60.0
NONCE = "0123456789abcdef0123456789abcdef"


class Ran(NamedTuple):
    """A program that has ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Gate:
    """Stands where the gate stands: takes the listeners and acknowledges them with `answer`."""

    def __init__(self, answer: bytes = b"k") -> None:
        self.channel, self.bottles_end = socket.socketpair()
        self.nonce = ""
        self.listeners: dict[str, socket.socket] = {}
        self._answer = answer
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 64)
        if data:
            message = json.loads(data)
            self.nonce = message["nonce"]
            opened = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            self.listeners = dict(zip(message["listeners"], opened, strict=True))
            if self._answer:
                self.channel.sendall(self._answer)
            else:
                self.channel.close()

    def close(self) -> None:
        self.bottles_end.close()
        self._thread.join()
        for one in (self.channel, *self.listeners.values()):
            one.close()


AnyGate = Gate | RemoteGate
Listener = socket.socket | RemoteSocket


class Place:
    """One check's surroundings. `directory` is private and empty; `manifest` says more about the bottle to be planned
    (`limits`, `mounts`, `env`)."""

    def __init__(self, backend: Backend, directory: Path) -> None:
        self.backend, self.directory = backend, Path(os.path.realpath(directory))
        self.home, self.workspace = self.directory / "home", self.directory / "workspace"
        self.home.mkdir(mode=0o700)
        self.workspace.mkdir(mode=0o700)
        self.identity = new_identity("conform")
        self.lent: Bottle | None = None
        """One that runs already, for `up` to give."""

    def plan(self, cwd: Path | None = None, **bottle: object) -> BottlePlan:
        """The plan of a bottle that only runs a shell, its image made if the backend has any. `cwd`: where the operator
        stands."""
        spec, plan = self._prepared(cwd, bottle)
        self.backend.provide(spec, plan, lambda _text: None)
        return plan

    def _prepared(self, cwd: Path | None, bottle: Mapping[str, object]) -> tuple[BottleSpec, BottlePlan]:
        file = self.directory / "claude-bottle.json"
        agents = {"conform": {"bottle": "b", "harness": "shell"}}
        file.write_text(json.dumps({"version": 1, "bottles": {"b": bottle}, "agents": agents}))
        manifest = Manifest.load_file(file, paths=Paths.default())
        spec = BottleSpec(manifest, "conform", user_cwd=cwd or self.directory)
        return spec, replace_slug(self.backend.prepare(spec, stage_dir=self.directory), self.identity)

    def sandboxed(self) -> bool:
        """Whether the backend says that it protects anything: by its plan, before anything of it runs."""
        return any(protection.state == "on" for protection in self._prepared(None, {})[1].protections)

    def gate(self, identity: str | None = None, answer: bytes = b"k") -> AnyGate:
        """The gate's part for a bottle of this identity, where the backend would have its gate. Close it at the end."""
        command = self.backend.gate_command(replace_slug(self.plan(), identity or self.identity))
        return Gate(answer) if command is None else RemoteGate(command, answer)

    def boot(self, gate: AnyGate | None = None, *, ports: tuple[int, ...] = (), **more: object) -> Boot:
        boot = Boot(self.identity, self.home, self.workspace, ports=ports)
        if gate:
            boot = replace(boot, registration=gate.bottles_end, nonce=NONCE)
        return replace(boot, **more)  # type: ignore[arg-type]

    def capability(self, program: str) -> Capability:
        """What gives a bottle this program, which says its own name; `missing` cannot be built. Where bottles are made from
        images, no network is needed; elsewhere it is a Python package that the operator's registry has (`config.json`)."""
        if not self.plan().image_build:
            return Capability("pip", (program,))
        if program == "missing":
            return Capability("dockerfile", (), "RUN echo no such thing && exit 3\n")
        made = f"RUN cd /usr/local/bin && printf '#!/bin/sh\\necho {program}\\n' > {program} && chmod 755 {program}\n"
        return Capability("dockerfile", (), made)

    @property
    def outlet(self) -> Outlet:
        """The way out of builds, as the operator's settings have it."""
        from claude_bottle.workflow import gates

        return gates.outlet(Paths.default())

    @contextmanager
    def up(
        self, boot: Boot | None = None, cwd: Path | None = None, plan: BottlePlan | None = None, **bottle: object
    ) -> Iterator[Bottle]:  # fmt: skip
        """A running bottle, of this `plan` or of one made for it; afterwards it is closed and released if it is not lent."""
        if self.lent and not (boot or cwd or plan or bottle):
            yield self.lent
            return
        with self.backend.launch(plan or self.plan(cwd, **bottle), boot=boot or self.boot()) as running:
            try:
                yield running
            finally:
                running.close()
                running.release()

    def mount(self, name: str, target: str, mode: str = "ro") -> dict[str, str]:
        """A directory of the host as a mount of the manifest; it exists afterwards."""
        (self.directory / name).mkdir(exist_ok=True)
        return {"source": str(self.directory / name), "target": target, "mode": mode}


def replace_slug(plan: BottlePlan, identity: str) -> BottlePlan:
    """The plan under the identity that is launched."""
    return replace(plan, slug=identity)


def shell(bottle: Bottle, script: str, **options: object) -> Ran:
    """Run a script of sh(1) in a bottle."""
    return run(bottle, ["sh", "-c", script], **options)  # type: ignore[arg-type]


def run(
    bottle: Bottle, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/workspace",
    stdin: bytes = b"",
) -> Ran:  # fmt: skip
    """Run a program in a bottle with pipes, and read all it writes while it is given `stdin`."""
    with ExitStack() as undo:
        pipes = [os.pipe() for _ in range(3)]
        theirs, ours = (pipes[0][0], pipes[1][1], pipes[2][1]), (pipes[0][1], pipes[1][0], pipes[2][0])
        if bottle.host_uid is not None:
            for end in theirs:
                os.fchown(end, bottle.host_uid, -1)
        try:
            process = bottle.spawn(argv, env=BASE_ENV if env is None else env, cwd=cwd, stdio=theirs)
        except BaseException:
            undo.callback(_close, ours)
            raise
        finally:
            _close(theirs)
        texts: dict[int, bytes] = {}
        threads = [threading.Thread(target=_feed, args=(ours[0], stdin), daemon=True)]
        threads += [threading.Thread(target=_drain, args=(end, texts), daemon=True) for end in ours[1:]]
        for thread in threads:
            thread.start()
        code = ended(process)
        for thread in threads:
            thread.join(SECONDS)
        return Ran(code, *(texts.get(end, b"").decode(errors="replace") for end in ours[1:]))


def start(bottle: Bottle, argv: Sequence[str], *, out: int | None = None, **options: object) -> Process:
    """Start a program that is not waited for; its output goes to `out`, or nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        stdio = (null, null if out is None else out, null)
        return bottle.spawn(argv, env=BASE_ENV, stdio=stdio, **options)  # type: ignore[arg-type]
    finally:
        os.close(null)


def ready(bottle: Bottle, script: str) -> Process:
    """Start a script of sh(1), which says `ready` once it is, and wait for that."""
    end, other = os.pipe()
    try:
        try:
            process = start(bottle, ["sh", "-c", script], out=other)
        finally:
            os.close(other)
        readable(end)
        if os.read(end, 100) != b"ready\n":
            raise AssertionError("it ended before it was ready")
        return process
    finally:
        os.close(end)


def ended(process: Process, seconds: float = SECONDS) -> int:
    """Its exit code, awaited over its descriptor as the keeper does. AssertionError when it does not come."""
    if process.poll() is None:
        readable(process.pidfd, seconds)
    return process.wait()


def readable(descriptor: int, seconds: float = SECONDS) -> None:
    if not select.select([descriptor], [], [], seconds)[0]:
        raise AssertionError("nothing happened in time")


def eventually(true: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for something that has no event of its own."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(0.02)


def mounts(*said: dict[str, str]) -> tuple[Mount, ...]:
    return tuple(Mount(one["source"], one["target"], one["mode"]) for one in said)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _feed(end: int, data: bytes) -> None:
    try:
        with os.fdopen(end, "wb") as pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # it wanted no more


def _drain(end: int, texts: dict[int, bytes]) -> None:
    with os.fdopen(end, "rb") as pipe:
        texts[end] = pipe.read()
