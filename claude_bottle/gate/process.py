"""A gate's life, in the child the keeper forked: hand out the certificate, shed what it inherited, take the listeners,
shut itself in, serve, and be gone with its keeper.

The order is for speed and safety at once: the certificate goes out before anything heavy is imported, since the bottle's
boot waits for it; nothing hostile is read before `confine`. Never returns; nothing is left to tidy when it ends.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, NoReturn

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    import socket
    import ssl

    from claude_bottle.gate.config import GateConfig
    from claude_bottle.gate.core import Origin
    from claude_bottle.gate.judge_line import JudgeLine
    from claude_bottle.gate.loop import Loop

BOOT_MILLISECONDS = 60


def serve(control: socket.socket, registration: socket.socket | None, config: GateConfig) -> NoReturn:
    """Be the gate of `config.identity`. `control`: stream socket to the keeper; `registration`: where the bottle's
    listeners arrive, None for a bottle without a network."""
    try:
        _serve(control, registration, config)
    except BottleError as problem:
        _tell(control, "fault", what=problem.what, why=problem.why)
    except BaseException as bug:
        _tell(control, "fault", what=f"the gate failed: {type(bug).__name__}")
    os._exit(1)


def _serve(control: socket.socket, registration: socket.socket | None, config: GateConfig) -> None:
    from claude_bottle.gate.ca import Authority

    # Whatever the rules are now: one that is granted later may need it, and the bottle reads its trust only once.
    authority = Authority()
    _tell(control, "ca", pem=authority.pem)

    from claude_bottle.gate import confine, limits

    keep = [control.fileno()] + ([registration.fileno()] if registration else [])
    keep += [] if config.judges is None else [config.judges]
    confine.close_descriptors(keep)
    confine.detach(limits.DESCRIPTORS)
    _title(config.identity)
    listeners = {}
    if registration is not None:
        from claude_bottle.gate.registration import receive

        listeners = receive(registration, config.nonce)
    _tell(control, "listening")
    _let_the_bottle_boot([control, *listeners.values()])

    from claude_bottle.gate.budget import Budget
    from claude_bottle.gate.decide import GateState
    from claude_bottle.gate.dial import Dialler, only_whole_names
    from claude_bottle.gate.inject import Injector
    from claude_bottle.gate.loop import Loop
    from claude_bottle.gate.money import Money
    from claude_bottle.gate.server import Server, stop_now
    from claude_bottle.model.policy import Policy

    roots = Roots(config)
    state = GateState(
        Policy(config.rules, operator_named=tuple(config.upstreams)), roots.context, authority, Injector(config.credentials),
        explicit_proxy=config.explicit_proxy, operator_named=tuple(config.upstreams), judges=config.judges is not None,
        budget=Budget(config.egress_bytes, config.egress_spent),
        money=Money(config.money, config.money_spent, config.prices),
    )  # fmt: skip
    only_whole_names()
    confine.confine(roots.directories)
    loop = Loop()
    dialler = Dialler(loop, config.upstreams, proxy=config.upstream_proxy)
    server = Server(loop, state, dialler, control, listeners, stop_now, judges=_judges(loop, config))
    server.send("ready")
    _settle_memory()
    loop.run()


def _judges(loop: Loop, config: GateConfig) -> JudgeLine | None:
    if config.judges is None:
        return None
    import socket

    from claude_bottle.gate.judge_line import JudgeLine

    return JudgeLine(loop, socket.socket(fileno=config.judges))


def _let_the_bottle_boot(sockets: list[socket.socket]) -> None:
    """Wait until somebody wants something, but not for long. What follows costs 50 ms of processor, which the bottle's
    boot needs more: a gate that has nothing to judge yet does not compete with it. What arrives waits in the sockets."""
    import select

    waiting = select.poll()
    for sock in sockets:
        waiting.register(sock, select.POLLIN)
    waiting.poll(BOOT_MILLISECONDS)


class Roots:
    """The verification contexts, made when first needed."""

    def __init__(self, config: GateConfig) -> None:
        self._extra = config.extra_ca
        self._pinned = {place: upstream.ca for place, upstream in config.upstreams.items() if upstream.ca}
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def directories(self) -> tuple[str, ...]:
        """Where the system's roots are read from later."""
        import ssl

        paths = ssl.get_default_verify_paths()
        return tuple(path for path in (paths.cafile, paths.capath) if path)

    def context(self, origin: Origin) -> ssl.SSLContext:
        """What the server at `origin` must prove itself against: its own CA if the operator gave it one, else the
        system's roots and the operator's extra ones."""
        from claude_bottle.gate.tls import client_context

        pinned = self._pinned.get((origin.host, origin.port))
        key = pinned or ""
        if key not in self._contexts:
            self._contexts[key] = client_context(pinned or self._extra, system=pinned is None)
        return self._contexts[key]


def _tell(control: socket.socket, op: str, **data: object) -> None:
    from claude_bottle.gate.control import encode

    try:
        control.setblocking(True)
        control.sendall(encode(op, **data))
    except OSError:
        os._exit(0)  # no keeper, no gate


def _title(identity: str) -> None:
    from claude_bottle.proc import set_title

    set_title(f"claude_bottle.gate {identity}")


def _settle_memory() -> None:
    """What exists now stays for good: keep the collector off it, and off the many short-lived buffers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()  # the command line we were forked from works without
