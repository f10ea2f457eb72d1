"""The measured client. Runs outside and, the same file, inside a bottle: standard library only, nothing of ours.

    client.py download HOST PORT CONNECT_TO BYTES        one GET; prints {"seconds": …, "bytes": …}
    client.py requests HOST PORT CONNECT_TO COUNT        sequential ones; prints medians in seconds, new and kept connections
    client.py parallel HOST PORT CONNECT_TO CLIENTS EACH as many at once; prints {"seconds": …, "errors": …, "done": …}

CONNECT_TO is `-` (resolve HOST, as any program in a bottle does) or an address. HOST with a `tls:` prefix is spoken to in
TLS and must prove its name to the roots in SSL_CERT_FILE.
"""

from __future__ import annotations

import json
import socket
import ssl
import statistics
import sys
import threading
import time

_BUFFER = 1 << 18


class Client:
    """How to reach one origin."""

    def __init__(self, host: str, port: str, connect_to: str) -> None:
        self.tls = host.startswith("tls:")
        self.host = host.removeprefix("tls:")
        self.address = (self.host if connect_to == "-" else connect_to, int(port))
        self.context = ssl.create_default_context() if self.tls else None

    def open(self) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock

    def get(self, sock: socket.socket, size: int, buffer: memoryview) -> int:
        """Fetch /size; the body bytes that came. ConnectionError when it is not what was asked for."""
        sock.sendall(f"GET /{size} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("ended in the head")
            head += data
        first, _, body = head.partition(b"\r\n\r\n")
        if b" 200 " not in first[:16]:
            raise ConnectionError(first[:60].decode(errors="replace"))
        got = len(body)
        while got < size:
            count = sock.recv_into(buffer)
            if not count:
                raise ConnectionError(f"ended after {got} bytes")
            got += count
        return got


def download(client: Client, size: int) -> dict[str, float]:
    buffer = memoryview(bytearray(_BUFFER))
    with client.open() as sock:
        started = time.perf_counter()
        got = client.get(sock, size, buffer)
        return {"seconds": time.perf_counter() - started, "bytes": got}


def requests(client: Client, count: int) -> dict[str, float]:
    buffer = memoryview(bytearray(_BUFFER))
    new, kept = [], []
    for _ in range(count):
        started = time.perf_counter()
        with client.open() as sock:
            client.get(sock, 1, buffer)
            new.append(time.perf_counter() - started)
    with client.open() as sock:
        for _ in range(2 * count):
            started = time.perf_counter()
            client.get(sock, 1, buffer)
            kept.append(time.perf_counter() - started)
    return {"new": statistics.median(new), "kept": statistics.median(kept)}


def parallel(client: Client, clients: int, each: int) -> dict[str, float]:
    errors: list[str] = []
    done = [0] * clients

    def work(index: int) -> None:
        buffer = memoryview(bytearray(_BUFFER))
        for _ in range(each):
            try:
                with client.open() as sock:
                    for _ in range(4):
                        client.get(sock, 65536, buffer)
                        done[index] += 1
            except OSError as problem:
                errors.append(str(problem))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for said in sorted(set(errors)):
        print(said, file=sys.stderr)
    return {"seconds": time.perf_counter() - started, "errors": len(errors), "done": sum(done)}


def main() -> None:
    what, host, port, connect_to, *numbers = sys.argv[1:]
    action = {"download": download, "requests": requests, "parallel": parallel}[what]
    print(json.dumps(action(Client(host, port, connect_to), *map(int, numbers))))  # type: ignore[operator]


if __name__ == "__main__":
    main()
