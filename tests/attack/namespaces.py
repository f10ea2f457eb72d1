"""`python namespaces.py FD [PATH=FILE…]`: a host of its own for the attack suite, in fresh network and mount namespaces;
`python namespaces.py FD PID`: the same in the network of that process, a container's without any.

It gives the loopback device the addresses of a small internet (public ones, private ones, a cloud's metadata address),
puts each FILE over its PATH (hosts, resolv.conf), opens the recording sockets, passes them out over FD with the name of
each, and stays until FD ends. Standard library only, and no import of ours: an ordinary user runs it as it is.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

NEWUSER, NEWNET, NEWNS = 0x10000000, 0x40000000, 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
# Whole ranges: on a loopback device every address of its network is local.
RANGES = {
    "93.184.216.1": "255.255.255.0",  # public: where granted names lead
    "10.1.2.1": "255.255.255.0", "172.17.0.1": "255.255.255.255", "192.168.1.1": "255.255.255.0",
    "169.254.169.254": "255.255.255.255", "100.64.0.1": "255.255.255.255",
    "1.1.1.1": "255.255.255.255", "8.8.8.8": "255.255.255.255",
}  # fmt: skip
RANGES_6 = {"2606:4700::1111": 64, "fc00::1": 64, "64:ff9b::1": 96}
ABSTRACT = b"\0claude-bottle-attack"
TCP_PORTS = (22, 53, 80, 443, 2375, 3128, 5432, 6443, 7000, 8080, 8443)

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def enter() -> None:
    """New network and mount namespaces; an ordinary user needs a user namespace for them."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(NEWNET | NEWNS | (NEWUSER if uid else 0)), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")


def join(pid: str) -> None:
    """Into a network that has nothing but its loopback device; engines leave that without IPv6."""
    with open(f"/proc/{int(pid)}/ns/net") as namespace:
        check(libc.setns(namespace.fileno(), NEWNET), "setns")
    for device in ("all", "lo"):
        try:
            with open(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6", "w") as file:
                file.write("0")
        except FileNotFoundError:
            pass  # a kernel without IPv6


def addresses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0x41)
        fcntl.ioctl(control, SIOCSIFFLAGS, request + bytes(8))
        for number, (address, mask) in enumerate(RANGES.items()):
            for call, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, mask)):
                payload = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, call, struct.pack("16s", b"lo:%d" % number) + payload + bytes(8))
    try:
        control6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError:
        return  # a kernel without IPv6
    with control6:
        for address, length in RANGES_6.items():
            fcntl.ioctl(control6, SIOCSIFADDR, struct.pack("=16sII", socket.inet_pton(socket.AF_INET6, address), length, 1))


def sockets() -> dict[str, socket.socket]:
    """Listeners on every address of this host, and a packet socket that sees whatever moves on it."""
    kind = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    found: dict[str, socket.socket] = {"packets": socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))}
    found["packets"].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for port in TCP_PORTS:
        dual = kind == socket.AF_INET6
        found[f"tcp {port}"] = socket.create_server(("", port), family=kind, backlog=64, dualstack_ipv6=dual)
    found["abstract"] = socket.socket(socket.AF_UNIX)
    found["abstract"].bind(ABSTRACT)
    found["abstract"].listen()
    found["dns"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found["dns"].bind(("127.0.0.1", 53))
    return found


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    words = sys.argv[2:]
    if len(words) == 1 and words[0].isdigit():
        join(words.pop())
    else:
        enter()
    addresses()
    for pair in words:
        path, file = pair.split("=")
        check(libc.mount(file.encode(), path.encode(), None, MS_BIND, None), f"mount on {path}")
    found = sockets()
    socket.send_fds(channel, [json.dumps(list(found)).encode()], [one.fileno() for one in found.values()])
    for one in found.values():
        one.close()
    channel.recv(1)


if __name__ == "__main__":
    main()
