"""What really arrived: servers and a name server that keep every byte they get, on sockets of the attack suite's own host.

A connection is recorded before anything is read from it, so that "zero bytes arrived" and "nobody came" are two answers.
Certificates are chosen by the server name asked for: true ones, and for some names expired, foreign or wrong ones.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

import trustme


@dataclass
class Arrival:
    """One connection: the port it came to, the TLS name it asked for, the bytes after TLS, and each whole request."""

    port: int
    name: str = ""
    data: bytearray = field(default_factory=bytearray)
    requests: list[bytes] = field(default_factory=list)


class Certificates:
    """A TLS context per server name, under one CA. `strange` names get what no client should accept."""

    def __init__(self, strange: dict[str, str]) -> None:
        self.ca, self._strange = trustme.CA(), strange
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, name: str) -> ssl.SSLContext:
        with self._lock:
            if name not in self._contexts:
                made = self._contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._issue(name).configure_cert(made)
            return self._contexts[name]

    def _issue(self, name: str) -> trustme.LeafCert:
        kind, now = self._strange.get(name, ""), datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017
        if kind == "expired":
            day = datetime.timedelta(days=1)
            return self.ca.issue_cert(name, not_before=now - 9 * day, not_after=now - day)
        if kind == "self-signed":
            return trustme.CA().issue_cert(name)
        return self.ca.issue_cert("somebody-else.test" if kind == "wrong name" else name)


class Servers:
    """Accepts on every listener. 443 and 8443 speak TLS, the others take what comes; HTTP is answered with 200."""

    def __init__(self, listeners: dict[int, socket.socket], certificates: Certificates) -> None:
        self._certificates = certificates
        self._arrivals: list[Arrival] = []
        self._listeners = list(listeners.values())
        self.answers: dict[bytes, bytes] = {}
        """Whole responses by path, in place of the usual one."""
        self.speakers: dict[str, Callable[[socket.socket], object]] = {}
        """Who talks on a TLS connection in place of the usual server, by the name asked for."""
        for port, listener in listeners.items():
            threading.Thread(target=self._accept, args=(port, listener), daemon=True).start()

    def arrived(self) -> list[Arrival]:
        """Connections since the last `clear`."""
        return list(self._arrivals)

    def requests(self) -> list[bytes]:
        return [request for arrival in self.arrived() for request in arrival.requests]

    def clear(self) -> None:
        self._arrivals = []

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, port: int, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._arrivals.append(arrival := Arrival(port))
            threading.Thread(target=self._serve, args=(sock, arrival), daemon=True).start()

    def _serve(self, sock: socket.socket, arrival: Arrival) -> None:
        try:
            if arrival.port in (443, 8443):
                sock = self._secure(sock, arrival)
            with sock:
                self.speakers.get(arrival.name, lambda sock: self._talk(sock, arrival))(sock)
        except OSError:
            sock.close()

    def _secure(self, sock: socket.socket, arrival: Arrival) -> ssl.SSLSocket:
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            arrival.name = name or ""
            connection.context = self._certificates.context(arrival.name)

        self._certificates.ca.issue_cert("nobody.test").configure_cert(first)
        first.sni_callback = choose  # type: ignore[assignment]
        return first.wrap_socket(sock, server_side=True)

    def _talk(self, sock: socket.socket, arrival: Arrival) -> None:
        """Keep a connection for as many requests as come."""
        waiting = b""
        while data := sock.recv(65536):
            if not any(arrival is one for one in self._arrivals):
                # Kept since before `clear`: what comes now is new.
                arrival = Arrival(arrival.port, arrival.name)
                self._arrivals.append(arrival)
            arrival.data += data
            waiting += data
            while (end := end_of_request(waiting)) is not None:
                arrival.requests.append(waiting[:end])
                path = waiting.split(b" ", 2)[1] if waiting.count(b" ") > 1 else b""
                waiting = waiting[end:]
                sock.sendall(self.answers.get(path, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"))


def end_of_request(data: bytes) -> int | None:
    """Where the first request in `data` ends, by Content-Length or chunks; None while it is not whole."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return None
    head = data[:end].lower()
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        last = re.search(rb"(^|\r\n)0\r\n\r\n", data[end:])
        return end + last.end() if last else None
    length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head)
    end += int(length[1]) if length else 0
    return end if len(data) >= end else None


class NameServer:
    """Answers A and AAAA from `book`: the same addresses each time, or (a list of lists) others each time it is asked. Nobody
    asks twice who has not been answered (`timeout` in the world's resolv.conf), however long that takes on a busy machine."""

    def __init__(self, sock: socket.socket, book: dict[str, list[str]]) -> None:
        self.book = book
        self.turns: dict[str, list[list[str]]] = {}
        self._sock = sock
        self._asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def asked(self) -> list[str]:
        return list(self._asked)

    def clear(self) -> None:
        self._asked = []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # ends the thread's waiting
        self._sock.close()

    def _serve(self) -> None:
        while True:
            try:
                query, peer = self._sock.recvfrom(4096)
            except OSError:
                return
            if not query:
                return  # closed
            name, kind, end = question(query)
            self._asked.append(name)
            turns = self.turns.get(name)
            addresses = self.book.get(name, [])
            if turns:
                addresses = turns.pop(0) if kind == 1 and len(turns) > 1 else turns[0]
            records = [ip_address(one).packed for one in addresses]
            wanted = [one for one in records if len(one) == {1: 4, 28: 16}.get(kind)]
            flags = 0x8180 if name in self.book or name in self.turns else 0x8183
            out = query[:2] + struct.pack(">HHHHH", flags, 1, len(wanted), 0, 0) + query[12:end]
            for one in wanted:
                out += struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(one)) + one
            self._sock.sendto(out, peer)


def question(query: bytes) -> tuple[str, int, int]:
    """Name, type and end of a query's question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    return ".".join(labels).lower(), int.from_bytes(query[at + 1 : at + 3], "big"), at + 5
