"""A gate in a container of its own: the same gate, with pipes where a keeper's sockets would be.

The first process moves lines between stdin, stdout and the gate's control channel, and lets the bottle's first process in
once, on a socket in the directory the two containers share; what comes later is `late`'s. The gate itself is its child, so
whichever ends, both do. The configuration is the first line of stdin, read by the gate alone: nothing of it is in a
variable, argument or file. With the argument `line` it is what `late.carry` says instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from typing import NoReturn

from claude_bottle.gate import late, process
from claude_bottle.gate.config import MAX_WIRE, GateConfig, Upstream
from claude_bottle.gate.control import MAX_LINE, encode
from claude_bottle.values import replace

SOCKET = "/run/bottle/gate.sock"
# Where a container finds the machine its engine runs on, if it is told (`--add-host …:host-gateway`).
ENGINES_HOST = "engines-host.internal"
# For a keeper to read the gate's last words.
_FAREWELL_SECONDS = 10.0
_CHUNK, _MESSAGE, _MAX_FDS = 1 << 16, 1 << 16, 128


def main() -> NoReturn:
    """Be the gate's container, until stdin ends or the gate does."""
    if sys.argv[1:2] == ["line"]:
        late.carry(sys.argv[2])
        os._exit(0)
    os.umask(0)  # the bottle's first process, whoever it is there, may connect
    listener = listen(SOCKET)
    mine, control = socket.socketpair()
    registration, entry = socket.socketpair()
    asking, wishes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        for sock in (mine, entry, listener, asking):
            sock.close()
        _serve(control, registration, wishes)
    for sock in (control, registration, wishes):
        sock.close()
    up = late.Upward(1)
    upward = threading.Thread(target=_until_it_fails, args=(_up, mine, up), daemon=True)
    upward.start()
    for job in ((_down, mine, late.Lines(asking, up)), (_admit, listener, entry)):
        threading.Thread(target=_until_it_fails, args=job, daemon=True).start()
    _, status = os.waitpid(child, 0)
    upward.join(_FAREWELL_SECONDS)  # why it ended is the last that it said
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def listen(path: str) -> socket.socket:
    """The one way in, which is there as soon as its name is. What an earlier gate may have left under it is replaced."""
    listener, fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    listener.bind(fresh)
    listener.listen(1)
    os.rename(fresh, path)
    return listener


def _serve(control: socket.socket, registration: socket.socket, wishes: socket.socket) -> NoReturn:
    try:
        config = GateConfig.from_wire(read_line(control))
        line = None if config.judges is None else wishes.fileno()
        config = replace(config, upstreams=seen_from_here(config.upstreams), judges=line)
    except ValueError as problem:
        control.sendall(encode("fault", what=str(problem)))
        os._exit(1)
    process.serve(control, registration, config)


def read_line(channel: socket.socket) -> bytes:
    """The first line, and not a byte of what follows: that is for the gate's control. ValueError when there is none."""
    line = b""
    while not line.endswith(b"\n"):
        seen = channel.recv(_CHUNK, socket.MSG_PEEK)
        end = seen.find(b"\n") + 1
        line += channel.recv(end or len(seen))
        if not seen or len(line) > MAX_WIRE:
            raise ValueError("it was told nothing" if not seen else "it was told too much")
    return line


def seen_from_here(upstreams: Mapping[tuple[str, int], Upstream]) -> dict[tuple[str, int], Upstream]:
    """What the operator maps to their own machine's loopback, by the name this container has for that machine. An engine
    on Linux gives its bridge's address, where only what listens on every address answers."""
    return {place: one._replace(connect_host=ENGINES_HOST) if is_loopback(one.connect_host) else one
            for place, one in upstreams.items()}  # fmt: skip


def is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _until_it_fails(step: object, *channels: object) -> None:
    """One direction, to its end; the end of one is the end of all."""
    try:
        step(*channels)  # type: ignore[operator]
    except OSError:
        os._exit(1)


def _down(control: socket.socket, lines: late.Lines) -> None:
    """The configuration, and then what is for the gate; what is for us never gets there."""
    down = late.Downward(control)
    door = late.Door(down, SOCKET, listen)
    stdin = os.fdopen(0, "rb", closefd=False)
    with contextlib.suppress(BrokenPipeError):  # a gate that has ended may still be heard: its parent waits for that
        down.pass_on(stdin.readline(MAX_WIRE + 1))
        while line := stdin.readline():
            message = json.loads(line)
            if message["op"] == "door":
                door.open(message)
            elif message["op"] == "answer":
                lines.answered(message)
            else:
                down.pass_on(line)
        os._exit(0)  # the keeper is gone


def _up(control: socket.socket, up: late.Upward) -> None:
    with control.makefile("rb") as said:
        while line := said.readline(2 * MAX_LINE):
            up.write(line)
    control.close()  # the gate is gone: its parent will notice


def _admit(listener: socket.socket, entry: socket.socket) -> None:
    """Let one connection in, pass its message with the descriptors on to the gate, and the gate's answer back."""
    visitor, _ = listener.accept()
    os.unlink(SOCKET)
    listener.close()
    # A gate that refuses it may be gone at any moment, and its last words are still on their way.
    with visitor, entry, contextlib.suppress(OSError):
        data = b""
        while not data.endswith(b"\n"):
            data, passed, flags, _ = visitor.recvmsg(_MESSAGE, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
            entry.sendmsg([data], passed)
            for _, _, content in passed:
                for descriptor in struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4]):
                    os.close(descriptor)
            if not data or flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
                return  # the gate sees that there comes no more, and says so
        visitor.sendall(entry.recv(1))


if __name__ == "__main__":
    main()
