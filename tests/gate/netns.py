"""A bottle's network without the bottle: `python -m tests.gate.netns` opens the listeners in a fresh network namespace,
hands them to the gate over the inherited socket, then runs the Python program it is given there.

It stands for the backend's opener in tests of the gate process, so that names, synthetic addresses and real ports are
those of a real bottle.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C


def enter() -> None:
    """A fresh user and network namespace, `lo` up with the synthetic range."""
    uid, gid = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEWUSER | _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for entry, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{entry}", "w") as file:
            file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for call, name, payload in (
            (_SIOCSIFFLAGS, b"lo", struct.pack("H14x", 0x41)),
            (_SIOCSIFADDR, b"lo:0", _address("198.18.0.1")),
            (_SIOCSIFNETMASK, b"lo:0", _address("255.254.0.0")),
        ):
            fcntl.ioctl(control, call, struct.pack("16s", name) + payload + bytes(8))


def _address(text: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def listeners(ports: list[int]) -> dict[str, socket.socket]:
    """The listeners every bottle has, and one for each of `ports`."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))
    found = {"dns-udp": udp, "dns-tcp": socket.create_server(("127.0.0.1", 53))}
    wanted = {"http": 80, "https": 443, **{f"port-{port}": port for port in ports}}
    for name, port in wanted.items():
        found[name] = socket.create_server(("0.0.0.0", port), backlog=512)
    found["proxy"] = socket.create_server(("127.0.0.1", 3128), backlog=512)
    return found


def hand_over(channel: socket.socket, found: dict[str, socket.socket], nonce: str) -> None:
    message = json.dumps({"nonce": nonce, "listeners": list(found)}).encode() + b"\n"
    socket.send_fds(channel, [message], [sock.fileno() for sock in found.values()])
    if channel.recv(1) != b"k":
        raise RuntimeError("the gate did not take the listeners")
    for sock in found.values():
        sock.close()


def main() -> None:
    """argv: descriptor of the registration socket, nonce, ports as JSON. stdin: the program to run."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    enter()
    hand_over(channel, listeners(json.loads(sys.argv[3])), sys.argv[2])
    channel.close()
    exec(compile(sys.stdin.read(), "probe", "exec"), {"__name__": "probe"})


if __name__ == "__main__":
    main()
