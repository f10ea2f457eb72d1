"""A layer being built beside a running bottle: in a child of the keeper, so that the keeper's loop goes on.

The child holds nothing of the keeper's but a pipe, on which it tells every line, what the build's gate refused, and the
end. It is killed with the keeper.
What it builds belongs to nobody until its backend has put it under its name, so it may be ended at any moment.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from claude_bottle import proc
from claude_bottle.backend.base import Outlet, Way
from claude_bottle.errors import BottleError
from claude_bottle.keeper import daemon
from claude_bottle.keeper.loop import READ, Loop
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

# Given what to call with every line, and the way out of the build.
Work = Callable[[Callable[[str], None], Outlet], object]
_LINE_WIDTH = 300
_CHUNK = 64 << 10
# One line of a build and an error have room; more than this is no message of our child's.
_MESSAGE_LIMIT = 1 << 20


class Building:
    """`work(progress, outlet)` runs in the child. `told` gets its lines, `refused` what its gate did not let through, a
    sentence each, `done` once its error, or None when it has succeeded."""

    def __init__(
        self, loop: Loop, work: Work, outlet: Outlet, told: Callable[[str], None], refused: Callable[[str], None],
        done: Callable[[BottleError | None], None],
    ) -> None:  # fmt: skip
        self._loop, self._told, self._refused, self._done = loop, told, refused, done
        self._rest = b""
        self._outcome: BottleError | None = BottleError("the layer could not be built", why="its builder was killed")
        self._out, writable = os.pipe()
        gc.freeze()  # what exists now stays shared between the two
        self._pid = os.fork()
        if self._pid == 0:
            _become_builder(work, outlet, writable)
        os.close(writable)
        loop.watch(self._out, READ, lambda _ready: self._heard())

    def abandon(self) -> None:
        """End it; `done` is not called. May be called again."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._collect()

    def _heard(self) -> None:
        data = os.read(self._out, _CHUNK)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._understand(line)
        if not data or len(self._rest) > _MESSAGE_LIMIT:
            os.kill(self._pid, signal.SIGKILL)  # usually it has ended
            self._collect()
            self._done(self._outcome)

    def _understand(self, line: bytes) -> None:
        message = json.loads(line)
        if "line" in message:
            self._told(message["line"])
        elif "refused" in message:
            self._refused(message["refused"])
        else:
            error = message.get("error")
            self._outcome = BottleError.from_dict(error) if error else None

    def _collect(self) -> None:
        os.waitpid(self._pid, 0)
        self._loop.unwatch(self._out)
        os.close(self._out)
        self._pid = 0


class _Telling:
    """An outlet whose refusals are told."""

    def __init__(self, outlet: Outlet, tell: Callable[[str], None]) -> None:
        self._outlet, self._tell = outlet, tell

    @contextmanager
    def __call__(self, name: str, rules: tuple[Rule, ...]) -> Iterator[Way]:
        with self._outlet(name, rules) as way:
            try:
                yield way
            finally:
                for one in way.refused():
                    self._tell(one)


def _become_builder(work: Work, outlet: Outlet, writable: int) -> NoReturn:
    """The forked child: nothing of the keeper's but the pipe."""
    try:
        daemon.die_with_parent()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
            signal.signal(number, signal.SIG_DFL)
        daemon.close_all_but([writable])
        os.set_blocking(writable, True)
        proc.set_title("claude_bottle.builder")
        telling = _Telling(outlet, lambda said: _tell(writable, {"refused": printable(said, width=_LINE_WIDTH)}))
        work(lambda line: _tell(writable, {"line": printable(line, width=_LINE_WIDTH)}), telling)
        _tell(writable, {})
    except BottleError as problem:
        _tell(writable, {"error": problem.to_dict()})
    except BaseException as bug:
        unexpected = BottleError("the layer could not be built", why=f"{type(bug).__name__}: {bug}"[:2000])
        _tell(writable, {"error": unexpected.to_dict()})
    finally:
        os._exit(0)


def _tell(writable: int, message: dict[str, object]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(writable, data) :]
