"""The server everything is fetched from: `GET /BYTES` answers with so many, over plain TCP and over TLS.

A process of its own with a thread per connection. Bodies come from memory in large pieces, so that OpenSSL and the kernel
do the work and the interpreter does not; on one port they come from a file, by sendfile(2), as web servers send them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from bench.product import ORIGIN
from claude_bottle.testing.throwaway_ca import ThrowawayCA

_PIECE = memoryview(bytes(1 << 20))
_FILE = 64 << 20


class Served(NamedTuple):
    """Where the origin listens on 127.0.0.1 (`file`: what sends from one), and what to trust it by."""

    tls: int
    tcp: int
    file: int
    ca: Path
    pid: int


@contextmanager
def serving(scratch: Path) -> Iterator[Served]:
    """An origin while the block runs."""
    authority = ThrowawayCA()
    ca = scratch / "origin-ca.pem"
    ca.write_text(authority.pem)
    context = authority.server_context([ORIGIN], scratch)
    tls, tcp, file = (socket.create_server(("127.0.0.1", 0), backlog=256) for _ in range(3))
    pid = os.fork()
    if pid == 0:
        _serve({tls: context, tcp: None, file: None}, file)
    ports = [listener.getsockname()[1] for listener in (tls, tcp, file)]
    for listener in (tls, tcp, file):
        listener.close()
    try:
        yield Served(*ports, ca, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(listeners: dict[socket.socket, ssl.SSLContext | None], from_file: socket.socket) -> NoReturn:
    try:
        file = os.memfd_create("body")
        os.posix_fallocate(file, 0, _FILE)
        threads = [
            threading.Thread(target=_accept, args=(sock, tls, file if sock is from_file else None))
            for sock, tls in listeners.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os._exit(1)


def _accept(listener: socket.socket, tls: ssl.SSLContext | None, file: int | None) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_converse, args=(sock, tls, file), daemon=True).start()


def _converse(sock: socket.socket, tls: ssl.SSLContext | None, file: int | None) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A client that is killed in the middle is its own affair.
    with contextlib.suppress(OSError), tls.wrap_socket(sock, server_side=True) if tls else sock as connection:
        waiting = b""
        while data := connection.recv(65536):
            waiting += data
            while b"\r\n\r\n" in waiting:
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                _answer(connection, int(head.split(b" ", 2)[1][1:]), file)


def _answer(connection: socket.socket, size: int, file: int | None) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
    connection.sendall(head + bytes(_PIECE[: min(size, 1024)]))
    left = size - min(size, 1024)
    while left > 0:
        if file is None:
            piece = _PIECE[: min(left, len(_PIECE))]
            connection.sendall(piece)
            left -= len(piece)
        else:
            left -= os.sendfile(connection.fileno(), file, 0, min(left, _FILE))


if __name__ == "__main__":
    sys.exit("started by bench.gate")
