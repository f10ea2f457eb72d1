"""A container's first process where no descriptor can leave it: `init` with its stdin and stdout as the line to the keeper.

Run as `python3 -I -S` beside the few files of ours that it imports. It goes through init's first moment and loses everything
in it, then fills the volumes; the listeners go to the gate over a socket in the directory that both containers see, once.
The end of stdin ends it, and the kernel then ends everything else.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

if __package__:
    from claude_bottle.backend.docker import filling, init, streams
    from claude_bottle.backend.docker.framing import CHUNK, MESSAGE, Frames, frame
    from claude_bottle.backend.docker.messages import say
else:  # in the container
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import filling  # type: ignore[import-not-found, no-redef]
    import init  # type: ignore[import-not-found, no-redef]
    import streams  # type: ignore[import-not-found, no-redef]
    from framing import CHUNK, MESSAGE, Frames, frame  # type: ignore[import-not-found, no-redef]
    from messages import say  # type: ignore[import-not-found, no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Message = dict[str, Any]

GATE = init.PLACE + "/gate.sock"
_GATE_SECONDS = 60.0
_FACTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid")


class Refused(OSError):
    """The gate does not take the listeners."""


def set_up(order: Message) -> Message:
    """The first moment, as init's; what is told of it afterwards."""
    listeners = []
    if order["network"]:
        init.bring_up_loopback()
        listeners = init.open_listeners(order["ports"])
    for path in order["own"]:
        os.close(init.give_away(path, order["uid"], order["gid"]))
    if order["bundle"]:
        with open(init.CA_BUNDLE, "w") as file:
            file.write(order["bundle"])
    seen = {path: [found.st_dev, found.st_ino] for path, found in ((path, os.stat(path)) for path in order["mounts"])}
    loaded = facts()["Seccomp"]  # by the engine: what this process adds itself comes now
    init.drop(order["uid"], order["gid"])
    if listeners:
        register(order["nonce"], listeners)
    with open("/proc/net/dev") as devices:
        return {"op": "ready", "seen": seen, "read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
                "facts": {**facts(), "Seccomp": loaded},
                "devices": [line.split(":")[0].strip() for line in devices if ":" in line]}  # fmt: skip


def facts() -> dict[str, str]:
    """What the kernel says of this process."""
    with open("/proc/self/status") as status:
        found = dict(line.split(":", 1) for line in status)
    return {name: found[name].strip() for name in _FACTS if name in found}


def register(nonce: str, listeners: list[tuple[str, socket.socket]]) -> None:
    """Hand the listeners to the gate, which may still be starting, and let go of them. OSError when it refuses."""
    gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    until = time.monotonic() + _GATE_SECONDS
    while gate.connect_ex(GATE):
        if time.monotonic() > until:
            raise Refused(0, "it was not found")
        time.sleep(0.02)
    message = {"nonce": nonce, "listeners": [name for name, _ in listeners]}
    fds = [listener.fileno() for _, listener in listeners]
    socket.send_fds(gate, [json.dumps(message).encode() + b"\n"], fds)
    gate.settimeout(_GATE_SECONDS)
    if gate.recv(1) != b"k":
        raise Refused(0, "it closed the registration")
    gate.close()
    for _, listener in listeners:
        listener.close()


class Relay(streams.Relay):
    """As it serves here, where a program may also be no more than a listener for the gate."""

    def become(self, command: Message, stdio: list[int], status: socket.socket) -> NoReturn:
        if "port" not in command:
            super().become(command, stdio, status)
        # A child, since it may have to wait; with the rights of any other, and out of their reach like its parent.
        try:
            register(command["nonce"], [(f"port-{command['port']}", init.listen("0.0.0.0", command["port"]))])
            say(status, op="born")
        except OSError as failure:
            say(status, op="failed", why=init.describe(failure))
        finally:
            os._exit(0)


def first_order() -> Message:
    """What the keeper wants of this bottle: the one frame that comes before `ready` is told."""
    frames, data = Frames(), b""
    while True:
        data = os.read(0, CHUNK)
        if not data:
            os._exit(0)
        for _, _, content in frames.feed(data):
            return json.loads(content)  # type: ignore[no-any-return]


def tell(**message: Any) -> None:
    os.write(1, frame(MESSAGE, 0, json.dumps(message).encode()))


def main() -> None:
    init.deafen()
    order = first_order()
    try:
        tell(**set_up(order))
        # What follows one answer waits for the next, so nothing is read too early.
        with open(0, "rb", buffering=CHUNK, closefd=False) as stream:
            for target in order["own"]:
                filling.fill(stream, target)
                tell(op="filled")
    except OSError as failure:
        tell(op="refused" if isinstance(failure, Refused) else "failed", why=init.describe(failure))
        raise
    Relay().serve()


if __name__ == "__main__":
    main()
