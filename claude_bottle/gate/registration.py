"""Takes the bottle's listening sockets, once, and believes nothing about them but the kernel.

The opener inside the bottle's namespace sends one JSON line with the launch's nonce and the listeners' names, the
descriptors in the same order. Anything wrong (nonce, names, count, a socket that is not an IPv4 listener on its name's
port, in a network other than ours) closes every descriptor received and ends the launch. May touch: the one registration
socket.
"""

from __future__ import annotations

import array
import json
import os
import re
import socket
from collections.abc import Callable, Iterable
from hmac import compare_digest

from claude_bottle.errors import BottleError

MAX_MESSAGE, MAX_LISTENERS = 16 * 1024, 128
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_FIXED = {"dns-udp": 53, "dns-tcp": 53, "http": 80, "https": 443, "proxy": 3128}


def port_of(name: str) -> int | None:
    """The port a listener of this name must be bound to; None for a name we do not know."""
    if name in _FIXED:
        return _FIXED[name]
    prefix, _, digits = name.partition("-")
    if prefix == "port" and _NUMBER.fullmatch(digits) and int(digits) < 65536:
        return int(digits)
    return None


def receive(
    channel: socket.socket, nonce: str, *, in_bottle: bool = True,
    taken: Callable[[dict[str, socket.socket]], object] | None = None,
) -> dict[str, socket.socket]:  # fmt: skip
    """Wait for the registration, answer `k`, close `channel`. Listener name → non-blocking socket. `taken` is called with
    them before the answer, and may raise BottleError.

    `in_bottle=False` is for tests, whose listeners are in the gate's own network, on whatever ports. Raises BottleError.
    """
    descriptors: list[int] = []
    listeners: dict[str, socket.socket] = {}
    try:
        text = _message(channel, descriptors)
        names = _names(text, nonce)
        if len(names) != len(descriptors):
            raise _bad(f"{len(names)} names for {len(descriptors)} descriptors")
        for name in names:
            listeners[name] = checked(name, descriptors.pop(0), in_bottle)
        if taken:
            taken(listeners)
        channel.sendall(b"k")
        return listeners
    except (OSError, BottleError) as broken:
        for listener in listeners.values():
            listener.close()
        if isinstance(broken, BottleError):
            raise
        raise _bad(str(broken)) from broken
    finally:
        _close(descriptors)
        channel.close()


def _message(channel: socket.socket, descriptors: list[int]) -> bytes:
    """Read up to the newline; descriptors are collected as they come, close-on-exec."""
    text = b""
    room = socket.CMSG_SPACE(MAX_LISTENERS * 4)
    while not text.endswith(b"\n"):
        part, ancillary, flags, _ = channel.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
                descriptors.extend(found)
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            raise _bad("truncated message")
        if not part:
            raise _bad("the opener closed the socket")
        text += part
        if len(text) > MAX_MESSAGE:
            raise _bad("message too long")
    return text


def _names(text: bytes, nonce: str) -> list[str]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise _bad("not JSON") from broken
    if not isinstance(message, dict) or set(message) != {"nonce", "listeners"}:
        raise _bad("unexpected keys")
    given, names = message["nonce"], message["listeners"]
    if not isinstance(given, str) or not nonce or not compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
        raise _bad("wrong nonce")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad("listeners are not a list of names")
    if len(set(names)) != len(names) or any(port_of(name) is None for name in names):
        raise _bad("doubled or unknown listener name")
    return names


def checked(name: str, descriptor: int, in_bottle: bool) -> socket.socket:
    """A socket object over `descriptor`, which it owns from here on, after asking the kernel what it is.
    BottleError when it is not what its name says."""
    sock = socket.socket(fileno=descriptor)
    try:
        kind = socket.SOCK_DGRAM if name == "dns-udp" else socket.SOCK_STREAM
        if sock.family != socket.AF_INET or sock.type & ~socket.SOCK_NONBLOCK != kind:
            raise _bad(f"{name} is not an IPv4 socket of the right type")
        if kind == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise _bad(f"{name} does not listen")
        if in_bottle and sock.getsockname()[1] != port_of(name):
            raise _bad(f"{name} is bound to port {sock.getsockname()[1]}")
        if in_bottle and _is_in_our_network(sock):
            raise _bad(f"{name} is in the host's network, not in the bottle's")
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_in_our_network(sock: socket.socket) -> bool:
    """Whether the kernel says so; kernels before 5.14 do not tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        try:
            return len({one.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8) for one in (sock, ours)}) == 1
        except OSError:
            return False


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _bad(why: str) -> BottleError:
    return BottleError("the bottle's listeners were not handed over", why=why)
