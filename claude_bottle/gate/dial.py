"""Upstream connections: resolve here, check every address, dial exactly an address that was checked.

A name resolves in a thread (the system's resolver blocks); what is not globally routable is dropped before a socket
exists, and the socket is connected to the checked address itself, never to a name again. The operator's `upstreams` come
first and are the only way to a private address. A small pool keeps idle links for the next conversation.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from claude_bottle.gate import limits
from claude_bottle.gate.core import Origin
from claude_bottle.gate.link import Link
from claude_bottle.gate.loop import WRITE, Loop
from claude_bottle.model import addresses
from claude_bottle.model.policy import ADDRESS_REFUSED, RESOLVE_FAILED, UPSTREAM_FAILED

if TYPE_CHECKING:
    from claude_bottle.gate.config import Upstream, UpstreamProxy
    from claude_bottle.gate.loop import Timer
    from claude_bottle.gate.tls import Channel

Address = tuple[int, tuple[object, ...]]  # family, socket address with a numeric host
Resolve = Callable[[str, int], list[Address]]
_TCP_USER_TIMEOUT = 18
_THREADS = 4


def only_whole_names() -> None:
    """Keep the C library from trying a name that does not exist in the host's search domains too (resolv.conf(5)): that
    would be another name than the one judged. For this process, before its first look-up."""
    os.environ["LOCALDOMAIN"] = "."


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of `host`, as the system's resolver gives them. OSError when there are none. Blocks."""
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [(int(family), address) for family, _, _, _, address in found]


def permitted(found: list[Address]) -> tuple[list[Address], str]:
    """Those of `found` that may be dialled, and why the first of the others may not."""
    allowed: list[Address] = []
    refused = ""
    for family, address in found:
        why = addresses.refusal(str(address[0]))
        if why is None:
            allowed.append((family, address))
        else:
            refused = refused or f"{address[0]} is refused: {why}"
    return allowed, refused


class Dialling:
    """One dial under way. Exactly one of `connected` and `failed` is called later, unless cancelled."""

    def __init__(self, loop: Loop, connected: Callable[[socket.socket], None], failed: Callable[[str, str], None]) -> None:
        self._loop, self._connected, self._failed = loop, connected, failed
        self._left: list[Address] = []
        self._sock: socket.socket | None = None
        self._last = ""
        self._over = False
        self._timer: Timer = loop.after(limits.RESOLVE_TIMEOUT, lambda: self.fail(RESOLVE_FAILED, "no answer in time"))

    @property
    def over(self) -> bool:
        return self._over

    def cancel(self) -> None:
        self._over = True
        self._timer.cancel()
        self._drop()

    def fail(self, reason: str, detail: str) -> None:
        if not self._over:
            self.cancel()
            self._failed(reason, detail)

    def connect(self, checked: list[Address]) -> None:
        """Try these addresses one after the other."""
        if not self._over:
            self._left = list(checked)
            self._try_next()

    def _try_next(self) -> None:
        self._timer.cancel()
        self._drop()
        while self._left:
            family, address = self._left.pop(0)
            try:
                self._sock = sock = _socket(family)
                sock.connect(address)
            except BlockingIOError:
                self._timer = self._loop.after(limits.DIAL_TIMEOUT, self._late)
                self._loop.watch(sock.fileno(), WRITE, self._ready)
                return
            except OSError as broken:
                self._last = broken.strerror or str(broken)
                self._drop()
                continue
            self._loop.watch(sock.fileno(), WRITE, self._ready)
            return
        self.fail(UPSTREAM_FAILED, self._last or "no address")

    def _late(self) -> None:
        self._last = "timed out"
        self._try_next()

    def _ready(self, events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._last = os.strerror(code)
            self._try_next()
            return
        self._loop.forget(sock.fileno())
        self.reached(sock)

    def reached(self, sock: socket.socket) -> None:
        """The address has answered."""
        self.done(sock)

    def done(self, sock: socket.socket) -> None:
        """The connection is whoever asked for it's."""
        self._sock, self._over = None, True
        self._timer.cancel()
        self._connected(sock)

    def _drop(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that vanished (a laptop that slept, a NAT that forgot) is noticed within a minute or two, not in fifteen.
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, 90_000),
    ):
        sock.setsockopt(level, option, value)
    return sock


class Dialler:
    """Dials for all conversations. `resolver` is the blocking resolver step, replaceable by the tests' recording one."""

    def __init__(
        self, loop: Loop, upstreams: Mapping[tuple[str, int], Upstream], resolver: Resolve = resolve,
        proxy: UpstreamProxy | None = None,
    ) -> None:  # fmt: skip
        self._loop, self._upstreams, self._resolver, self._proxy = loop, upstreams, resolver, proxy
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = 0
        self._idle: dict[Origin, list[_Idle]] = {}

    def dial(
        self, origin: Origin, connected: Callable[[socket.socket], None], failed: Callable[[str, str], None]
    ) -> Dialling:
        """Begin to dial; the caller has judged the origin."""
        named = self._upstreams.get((origin.host, origin.port))
        if (proxy := self._proxy) and not named:
            from claude_bottle.gate.through_proxy import ThroughProxy

            through = ThroughProxy(self._loop, connected, failed, origin, proxy.authorization)
            self._in_thread(lambda: self._resolve_proxy(through, origin, proxy))
            return through
        dialling = Dialling(self._loop, connected, failed)
        host, port = (named.connect_host, named.connect_port) if named else (origin.host, origin.port)
        self._in_thread(lambda: self._resolve(dialling, host, port, operator_named=named is not None))
        return dialling

    def _resolve(self, dialling: Dialling, host: str, port: int, *, operator_named: bool) -> None:
        """In a thread: look the name up, then go on in the loop."""
        if dialling.over:
            return  # nobody waits any more: a slow resolver would else be kept busy by those who have left
        try:
            found = self._resolver(host, port)
        except (OSError, UnicodeError) as broken:
            why = str(getattr(broken, "strerror", None) or "not resolvable")
            self._loop.submit(lambda: dialling.fail(RESOLVE_FAILED, why))
            return
        allowed, refused = (found, "") if operator_named else permitted(found)
        if allowed:
            self._loop.submit(lambda: dialling.connect(allowed))
        elif refused:
            self._loop.submit(lambda: dialling.fail(ADDRESS_REFUSED, refused))
        else:
            self._loop.submit(lambda: dialling.fail(RESOLVE_FAILED, "the name has no address"))

    def _resolve_proxy(self, dialling: Dialling, origin: Origin, proxy: UpstreamProxy) -> None:
        """In a thread. The proxy finds the place by its name; where this host knows the name, too, its addresses must be
        ones that may be dialled."""
        try:
            found = self._resolver(origin.host, origin.port)
        except (OSError, UnicodeError):
            found = []
        _, refused = permitted(found)
        if refused:
            self._loop.submit(lambda: dialling.fail(ADDRESS_REFUSED, refused))
        else:
            self._resolve(dialling, proxy.host, proxy.port, operator_named=True)

    def _in_thread(self, job: Callable[[], None]) -> None:
        self._work.put(job)
        if self._threads < _THREADS:
            self._threads += 1
            threading.Thread(target=self._labour, daemon=True).start()

    def _labour(self) -> None:
        while True:
            self._work.get()()

    # The pool

    def keep(self, link: Link, origin: Origin, channel: Channel) -> None:
        """Take an idle link into the pool, for a moment."""
        if sum(map(len, self._idle.values())) >= limits.POOL_SIZE:
            link.owner = _Nobody()
            link.abort()
            return
        self._idle.setdefault(origin, []).append(_Idle(self, link, origin, channel))

    def take(self, origin: Origin) -> tuple[Link, Channel] | None:
        """A link to `origin` from the pool, the last one put there."""
        waiting = self._idle.get(origin)
        if not waiting:
            return None
        idle = waiting[-1]
        self.discard(idle)
        return idle.link, idle.channel

    def keep_only(self, allowed: Callable[[Origin], bool]) -> None:
        """End the idle links to places that are not allowed any more."""
        for idle in [idle for origin, waiting in self._idle.items() if not allowed(origin) for idle in waiting]:
            idle.end()

    def discard(self, idle: _Idle) -> None:
        idle.timer.cancel()
        waiting = self._idle.get(idle.origin, [])
        if idle in waiting:
            waiting.remove(idle)
            if not waiting:
                del self._idle[idle.origin]

    @property
    def loop(self) -> Loop:
        return self._loop


class _Nobody:
    """The owner of a link nobody wants to hear of any more."""

    def link_received(self, link: Link, data: memoryview) -> None: ...
    def link_ended(self, link: Link) -> None: ...
    def link_lost(self, link: Link) -> None: ...
    def link_clogged(self, link: Link, clogged: bool) -> None: ...


class _Idle:
    """A link in the pool. Whatever happens on it, even data, makes it unfit: nobody has asked for any."""

    def __init__(self, dialler: Dialler, link: Link, origin: Origin, channel: Channel) -> None:
        self._dialler, self.link, self.origin, self.channel = dialler, link, origin, channel
        self.timer = dialler.loop.after(limits.POOL_WITHIN, self.end)
        link.adopt(self, 0)

    def end(self) -> None:
        self._dialler.discard(self)
        self.link.owner = _Nobody()
        self.link.abort()

    def link_received(self, link: Link, data: memoryview) -> None:
        self.end()

    def link_ended(self, link: Link) -> None:
        self.end()

    def link_lost(self, link: Link) -> None:
        self._dialler.discard(self)

    def link_clogged(self, link: Link, clogged: bool) -> None:
        """Nothing is ever sent on an idle link."""
