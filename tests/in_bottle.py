"""Run programs in a real bottle, as a person: `python -m tests.in_bottle` reads a request and prints what
happened.

It is the keeper's part in the tests of the backend: it launches through the public contract, holds the
listeners as a gate would, starts what it is asked to start with pipes, and reports exit code and output.
Probes are small Python programs for the bottle's own interpreter; `probe` returns what they print as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from tests.ordinary_user import Person

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "USER": "agent", "LANG": "C.UTF-8"}


def run(person: Person, argv: list[str], **request: Any) -> dict[str, Any]:
    """{code, out, err} of `argv` in a fresh bottle of this person. `request` may name `env` (added to ENV),
    `home` and `workspace` (host paths), `overlay` (a host path, and where its layers are kept), `mounts` ([source, target,
    mode]), `ports`, `gate` (false: no listeners), `bwrap`. Raises the BottleError of the launch."""
    request.setdefault("home", str(person.directory("home")))
    request.setdefault("workspace", str(person.directory("workspace")))
    command = [person.python, "-c", person.keeper] if person.keeper else person.module("tests.in_bottle")
    done = person.run(command, input=json.dumps({"argv": argv, **request}))
    if done.returncode != 0:
        raise AssertionError(f"the bottle did not run: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise BottleError.from_dict(answer["error"])
    return answer


def probe(person: Person, source: str, **request: Any) -> Any:
    """What the Python program `source`, run in a bottle, printed as JSON."""
    answer = run(person, ["/usr/bin/python3", "-I", "-c", source], **request)
    if answer["code"] != 0:
        raise AssertionError(f"the probe failed: {answer}")
    return json.loads(answer["out"])


class Gate:
    """Stands where the gate stands: takes the listeners and keeps them. What was said is in `message`."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.message: dict[str, Any] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self.ours, 65536, 64)
        self.message = json.loads(message)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        self.sockets = dict(zip(self.message["listeners"], sockets, strict=True))
        self.ours.sendall(b"k")

    def close(self) -> None:
        self.thread.join()
        for one in (self.ours, self.theirs, *self.sockets.values()):
            one.close()


def launch_request(request: dict[str, Any], gate: Gate | None) -> Any:
    """The launch context for a request (see `run`)."""
    from claude_bottle.backend import get_bottle_backend
    from claude_bottle.backend.base import Boot
    from claude_bottle.model.plan import BottlePlan, Mount, Workspace

    if request.get("bwrap") == "wheel":
        from claude_bottle.backend.bubblewrap import programs

        programs._SYSTEM = ()
    mounts = tuple(Mount(*mount) for mount in request.get("mounts", ()))
    plan = BottlePlan("b-1", "b", "shell", "", "bubblewrap", "", (), Workspace("none", "/workspace"), mounts, ENV)
    overlay = None
    if "overlay" in request:
        from claude_bottle.backend.base import Overlay
        from claude_bottle.state import layers

        source, place = map(Path, request["overlay"])
        begun = layers.open_at(place) or layers.begin_at(place, source)
        overlay = Overlay(begun.source, begun.directory, begun.below)
    boot = Boot(
        overlay=overlay,
        identity=request.get("identity", "b-1"),
        home=Path(request["home"]),
        workspace=Path(request["workspace"]),
        registration=gate.theirs if gate else None,
        nonce="00ff",
        ports=tuple(request.get("ports", ())),
        ca_bundle=request.get("ca_bundle", "").encode(),
    )
    return get_bottle_backend("bubblewrap").launch(plan, boot=boot)


def main() -> None:
    request = json.loads(sys.stdin.read())
    gate = Gate() if request.get("gate", True) else None
    out, err = os.memfd_create("out"), os.memfd_create("err")
    stdin = os.open("/dev/null", os.O_RDONLY)
    try:
        code = _serve(request, gate, (stdin, out, err))
    except BottleError as error:
        print(json.dumps({"error": error.to_dict()}))
        return
    texts = {name: os.pread(file, 1 << 22, 0).decode(errors="replace") for name, file in (("out", out), ("err", err))}
    print(json.dumps({"code": code, **texts}))


def _serve(request: dict[str, Any], gate: Gate | None, stdio: tuple[int, int, int]) -> int:
    with launch_request(request, gate) as bottle:
        env = {**ENV, **request.get("env", {})}
        cwd = request.get("cwd", "/workspace")
        code: int = bottle.spawn(request["argv"], env=env, cwd=cwd, stdio=stdio).wait()
        return code


if __name__ == "__main__":
    main()
