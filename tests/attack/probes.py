"""What attackers inside have at hand: Python source that goes in front of a probe, and how its answers are read outside.

Everything here is raw sockets and bytes, since libraries are too polite to attack with. Probes report answers as text;
`outcomes` says what the gate did, in the words of the contract: a status and a reason, an alert, a closed connection.
"""

from __future__ import annotations

import platform
import re

from tests.attack.world import API, DATABASE, EVIL, OTHER, PLAIN, PUBLIC, REBOUND, TUNNEL

NAMES = {"API": API, "OTHER": OTHER, "TUNNEL": TUNNEL, "PLAIN": PLAIN, "DATABASE": DATABASE, "EVIL": EVIL,
         "REBOUND": REBOUND, "PUBLIC": PUBLIC}  # fmt: skip
NETWORK = "\n".join(f"{name} = {value!r}" for name, value in NAMES.items()) + r"""
import base64, errno, json, os, socket, ssl, struct, sys
KEY = os.environ.get("API_KEY", "")
PROXY = ("127.0.0.1", 3128)
seen = {}

WAIT = 60
def read(s):
    "Everything until the other side is through, and how it ended if not well."
    data = b""
    s.settimeout(WAIT)
    try:
        while piece := s.recv(65536):
            data += piece
    except (OSError, ssl.SSLError) as problem:
        data += b"!" + type(problem).__name__.encode()
    s.close()
    return data.decode("latin-1")

def once(s, raw):
    s.sendall(raw)
    return read(s)

def raw(data, address=PROXY):
    return once(socket.create_connection(address), data)

def head(s):
    data = b""
    s.settimeout(WAIT)
    while not data.endswith(b"\r\n\r\n") and (byte := s.recv(1)):
        data += byte
    return data

def connect(authority, host=None):
    "A tunnel through the proxy, and the proxy's answer; the tunnel is None if it was refused."
    authority = authority if isinstance(authority, bytes) else authority.encode()
    s = socket.create_connection(PROXY)
    s.sendall(b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + (host or authority) + b"\r\nConnection: close\r\n\r\n")
    answer = head(s)
    if b" 200 " in answer.split(b"\r\n")[0] + b" ":
        return s, answer.decode("latin-1")
    return None, (answer + read(s).encode("latin-1")).decode("latin-1")

def refused_connect(authority, host=None):
    s, answer = connect(authority, host)
    if s is not None:
        s.close()
    return answer

CONTEXT = ssl.create_default_context()
def secure(s, name):
    return CONTEXT.wrap_socket(s, server_hostname=name)

def tls(data, name=API, address=None, port=443):
    "Say `data` inside TLS for `name`, at the synthetic address of `address` (or of `name`)."
    try:
        s = secure(socket.create_connection((address or name, port)), name)
    except (OSError, ssl.SSLError) as problem:
        return "!" + type(problem).__name__ + " " + str(getattr(problem, "reason", "") or "")
    return once(s, data)

def request(path="/v1/x", host=API, method="GET", headers=(), body=b"", key=None, close=True):
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: " + host.encode("latin-1")]
    lines += [line if isinstance(line, bytes) else line.encode("latin-1") for line in headers]
    if key is not None:
        lines.append(b"x-api-key: " + key.encode())
    if close:
        lines.append(b"Connection: close")
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body

def lookup(name, kind=socket.AF_INET):
    try:
        return socket.getaddrinfo(name, None, kind)[0][4][0]
    except OSError as problem:
        return "no such name" if isinstance(problem, socket.gaierror) else str(problem)

def attempt(name, work):
    try:
        seen[name] = work()
    except Exception as problem:
        seen[name] = "!" + type(problem).__name__ + " " + str(problem)
"""
X86 = platform.machine() == "x86_64"
# Numbers of system calls by name: (x86_64, aarch64).
CALLS = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "settimeofday": (164, 170), "sethostname": (170, 161), "quotactl": (179, 60),
    "setns": (308, 268), "unshare": (272, 97), "syslog": (103, 116), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442),
}  # fmt: skip
NUMBERS = {name: numbers[0 if X86 else 1] for name, numbers in CALLS.items()}
KERNEL = f"""
import ctypes, errno, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {NUMBERS!r}
X86 = {X86!r}
def call(number, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    return "ok" if r >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(work):
    try:
        work()
        return "ok"
    except OSError as problem:
        return errno.errorcode.get(problem.errno, str(problem))
def dial(family, address, kind=socket.SOCK_STREAM):
    def work():
        with socket.socket(family, kind) as s:
            s.settimeout(60)
            s.connect(address)
            if kind == socket.SOCK_DGRAM:
                s.send(b"canary-datagram")
    return attempt(work)
"""
SHOW = "\nprint(json.dumps(seen))\n"


def outcomes(answer: str) -> list[str]:
    """Each HTTP answer in it as `STATUS REASON`; else `alert`, `closed` or the error it ended with."""
    if answer.startswith("\x15\x03"):
        return ["alert"]
    found = []
    for part in re.split(r"(?=HTTP/1\.[01] \d{3} )", answer):
        if part.startswith("HTTP/1."):
            reason = re.search(r'"reason": "(\w*)"', part)
            found.append(part[9:12] + (f" {reason[1]}" if reason else ""))
    if found:
        return found
    if re.match(r"!SSLError .*ALERT|!SSLError TLSV1|!SSLError SSLV3", answer):
        return ["alert"]
    return [answer.split()[0] if answer else "closed"]


def judged(seen: dict[str, str]) -> dict[str, list[str]]:
    """`outcomes` of every attempt."""
    return {name: outcomes(answer) for name, answer in seen.items()}

