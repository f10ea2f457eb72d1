"""The bottle's whole network: a loopback device, and listening sockets that only the gate holds.

Runs in the launcher, inside the fresh user and network namespaces, before any foreign code. It brings `lo`
up with the synthetic range on it, opens the listeners and hands their descriptors to the gate in one
message; our copies close with the process. What it opens can be reached by nobody but programs in the
bottle.
"""

from __future__ import annotations

import fcntl
import socket
import struct

from claude_bottle.backend import registration

BACKLOG = 1024
PROXY_PORT = 3128
RANGE_ADDRESS, RANGE_MASK = "198.18.0.1", "255.254.0.0"  # RFC 2544: never on the internet

_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
_IFF_UP_RUNNING = 0x1 | 0x40

Listeners = list[tuple[str, socket.socket]]


def bring_up_loopback() -> None:
    """`lo` up, and `lo:0` with the synthetic range, whose every address is then local."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))
        for request, address in ((_SIOCSIFADDR, RANGE_ADDRESS), (_SIOCSIFNETMASK, RANGE_MASK)):
            sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", b"lo:0", sockaddr))


def open_listeners(ports: tuple[int, ...]) -> Listeners:
    """The listeners of spec A, then one for each other port, in this order."""
    fixed = (("dns-tcp", "127.0.0.1", 53), ("http", "0.0.0.0", 80), ("https", "0.0.0.0", 443))
    listeners = [("dns-udp", _udp("127.0.0.1", 53))]
    listeners += [(name, tcp_listener(address, port)) for name, address, port in fixed]
    listeners.append(("proxy", tcp_listener("127.0.0.1", PROXY_PORT)))
    taken = {53, 80, 443, PROXY_PORT}
    listeners += [(f"port-{port}", tcp_listener("0.0.0.0", port)) for port in sorted(set(ports) - taken)]
    return listeners


def tcp_listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener


def _udp(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, port))
    return listener


def register(gate: socket.socket, nonce: str, listeners: Listeners) -> None:
    """Hand the listeners to the gate. That it has taken them, the keeper hears."""
    names, descriptors = [name for name, _ in listeners], [listener.fileno() for _, listener in listeners]
    registration.register(gate, nonce, names, descriptors)
