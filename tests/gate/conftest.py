"""Real parts for gate tests: a gate on loopback sockets, servers that record every byte that reached them, and CAs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trustme

from claude_bottle.gate.budget import Budget
from claude_bottle.gate.ca import Authority
from claude_bottle.gate.config import Upstream, UpstreamProxy
from claude_bottle.gate.decide import GateState
from claude_bottle.gate.dial import Address, Dialler, resolve
from claude_bottle.gate.inject import Injector
from claude_bottle.gate.judge_line import JudgeLine
from claude_bottle.gate.loop import Loop
from claude_bottle.gate.server import Server
from claude_bottle.gate.tls import client_context
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.policy import Policy, Rule
from tests.waiting import SECONDS

HOST, OTHER = "api.example.com", "other.example.net"
PLACEHOLDER, SECRET = "sk-bottle-placeholder-test-0123456789abcdef", "sk-real-SECRET-value-42"


def bound(*places: tuple[str, int], name: str = "api", header: str = "x-api-key", form: str = "{secret}") -> BoundCredential:
    """The test credential, bound to `places`."""
    spec = CredentialSpec(name, "env", "API_KEY", "API_KEY", header, form)
    return BoundCredential(spec, PLACEHOLDER, Secret(SECRET), places)


@pytest.fixture(scope="session")
def upstream_ca() -> trustme.CA:
    return trustme.CA()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="session")
def upstream_context(upstream_ca: trustme.CA) -> ssl.SSLContext:
    """What the true servers of HOST and OTHER present."""
    return server_context(upstream_ca.issue_cert(HOST, OTHER))


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def bottle_trust(authority: Authority) -> ssl.SSLContext:
    """What a client in the bottle trusts: the bottle's own authority."""
    return ssl.create_default_context(cadata=authority.pem)


@dataclass
class MakeState:
    """`make(*rules, credentials=…)` gives a gate state whose upstream trust is the test CA's."""

    authority: Authority
    upstream_pem: str

    def __call__(self, *rules: Rule, credentials: tuple[BoundCredential, ...] = ()) -> GateState:
        context = client_context(self.upstream_pem, system=False)
        return GateState(Policy(rules), lambda origin: context, self.authority, Injector(credentials))


@pytest.fixture
def make_state(authority: Authority, upstream_ca: trustme.CA) -> MakeState:
    return MakeState(authority, upstream_ca.cert_pem.bytes().decode())


class RecordingServer:
    """A server on loopback that keeps whatever reaches it. `respond` gets a connection and may talk on it."""

    def __init__(self, respond: Callable[[Recorded], None], context: ssl.SSLContext | None = None) -> None:
        self._respond, self._context = respond, context
        self.received = bytearray()
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self._respond(Recorded(sock, self))
        except OSError:
            sock.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@dataclass
class Recorded:
    """One connection to a RecordingServer."""

    sock: socket.socket
    server: RecordingServer
    buffer: bytearray = field(default_factory=bytearray)

    def receive(self) -> bytes:
        data = self.sock.recv(65536)
        self.server.received += data
        return data

    def request(self) -> bytes | None:
        """The next request's head with its body (Content-Length only); None at the end."""
        while b"\r\n\r\n" not in self.buffer:
            if not (data := self.receive()):
                return None
            self.buffer += data
        end = self.buffer.index(b"\r\n\r\n") + 4
        for line in bytes(self.buffer[:end]).lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                end += int(line.partition(b":")[2])
        while len(self.buffer) < end:
            self.buffer += self.receive()
        request = bytes(self.buffer[:end])
        del self.buffer[:end]
        return request


def hello(connection: Recorded) -> None:
    """Answers every request with "hello"."""
    while connection.request() is not None:
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


class RunningGate:
    """A gate's server in a thread, its listeners on loopback, the keeper's end of the control line in `keeper`."""

    def __init__(
        self, state: GateState, upstreams: dict[tuple[str, int], Upstream],
        resolver: Callable[[str, int], list[Address]], names: tuple[str, ...], judges: socket.socket | None = None,
        proxy: UpstreamProxy | None = None,
    ) -> None:  # fmt: skip
        self.state = state
        self.keeper, ours = socket.socketpair()
        self.loop = Loop()
        self.gone = threading.Event()
        listeners = {name: _listener(name) for name in names}
        self.ports = {name: sock.getsockname()[1] for name, sock in listeners.items()}
        dialler = Dialler(self.loop, upstreams, resolver, proxy)
        self.server = Server(self.loop, state, dialler, ours, listeners, self._keeper_gone,
                             in_bottle=False, judges=JudgeLine(self.loop, judges) if judges else None)  # fmt: skip
        self._sockets = [ours, *listeners.values()]
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def _keeper_gone(self) -> None:
        self.gone.set()
        self.loop.stop()

    def connect(self, listener: str = "proxy") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[listener]), timeout=SECONDS)

    def tunnel(self, trust: ssl.SSLContext, host: str = HOST, port: int = 443) -> ssl.SSLSocket:
        """A TLS connection to `host` through CONNECT."""
        sock = self.connect()
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = read_head(sock)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(answer)
        return trust.wrap_socket(sock, server_hostname=host)

    def close(self) -> None:
        self.keeper.close()
        self._thread.join(SECONDS)
        self.loop.close()
        for sock in self._sockets:
            sock.close()


def _listener(name: str) -> socket.socket:
    if name == "dns-udp":
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
    else:
        sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setblocking(False)
    return sock


def read_head(sock: socket.socket) -> bytes:
    """Up to a blank line, not a byte more."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        data += byte
    return data


def read_response(sock: socket.socket) -> bytes:
    """One response with a Content-Length."""
    head = read_head(sock)
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    body = b""
    while len(body) < length and (data := sock.recv(length - len(body))):
        body += data
    return head + body


@dataclass
class Rig:
    """Makes servers and gates and takes them down again."""

    make_state: MakeState
    upstream_context: ssl.SSLContext
    _close: list[Callable[[], None]] = field(default_factory=list)

    def server(
        self, respond: Callable[[Recorded], None] = hello, *, tls: bool = True, context: ssl.SSLContext | None = None
    ) -> RecordingServer:
        server = RecordingServer(respond, context or (self.upstream_context if tls else None))
        self._close.append(server.close)
        return server

    def gate(
        self, *rules: Rule, to: dict[tuple[str, int], RecordingServer] | None = None,
        credentials: tuple[BoundCredential, ...] = (),
        resolver: Callable[[str, int], list[Address]] = resolve,
        names: tuple[str, ...] = ("proxy",), budget: Budget | None = None, proxy: UpstreamProxy | None = None,
    ) -> RunningGate:  # fmt: skip
        """A running gate; `to` maps places to servers, as the operator's `upstreams` would."""
        upstreams = {place: Upstream("127.0.0.1", server.port) for place, server in (to or {}).items()}
        state = self.make_state(*rules, credentials=credentials)
        state.budget = budget or state.budget
        gate = RunningGate(state, upstreams, resolver, names, proxy=proxy)
        self._close.append(gate.close)
        return gate


@pytest.fixture
def rig(make_state: MakeState, upstream_context: ssl.SSLContext) -> Iterator[Rig]:
    rig = Rig(make_state, upstream_context)
    yield rig
    for close in reversed(rig._close):
        close()
