"""Credentials that a command gives for a time (`ttl`): run again before they expire, the new value sent to the gate.

The command is the operator's own, from the manifest they consented to before this bottle started; nothing is looked up
again. It runs beside the loop, without a terminal, in `/`, so that no name in it is ever found where an agent writes.
A failure is journalled and tried again; the old value serves until it expires, then the gate refuses to use it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.keeper.daemon import die_with_parent
from claude_bottle.keeper.loop import READ
from claude_bottle.model import events
from claude_bottle.model.credentials import CredentialSpec, Secret
from claude_bottle.redact import Redactor
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.keeper.audit import Audit
    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.model.credentials import BoundCredential

COMMAND_SECONDS = 60.0
COMMAND_CWD = "/"
_OUTPUT_LIMIT = 64 << 10
# Of what is left of the ttl; spread, so that many bottles do not ask at once.
_EARLIEST, _LATEST = 0.75, 0.9
# The loop's clock stands still while the machine sleeps, the credential's does not: look again now and then.
_LOOK_SECONDS = 60.0

Values = Mapping[str, str | None]


def now() -> float:
    """Seconds, counted through a machine's sleep (CLOCK_BOOTTIME, clock_gettime(2)): what a ttl is measured in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def checked(spec: CredentialSpec, text: str) -> Secret:
    """The value in what a source gave. BottleError, without the value, when no header may carry it."""
    value = text.strip()
    try:
        spec.fill(value)
    except ValueError as problem:
        raise no_value(spec, str(problem)) from None
    return Secret(value)


def printed(spec: CredentialSpec, code: int, out: bytes, err: bytes, former: Secret | None = None) -> Secret:
    """The value a command printed. BottleError when it failed, with the end of what it wrote to stderr, but nothing of
    what it wrote to stdout and nothing of `former`."""
    text = out.decode("utf-8", "replace")
    if code == 0:
        return checked(spec, text)
    hidden = Redactor([text, *text.split(), *([former.reveal()] if former else [])])
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said = hidden.text(err.decode("utf-8", "replace")).strip().splitlines()[-3:]
    if spec.source == "keyring":
        raise _no_entry(spec, said)
    raise no_value(spec, "\n".join([f"{spec.source_detail[0]} {how}", *(line[:200] for line in said)]))


def _no_entry(spec: CredentialSpec, said: list[str]) -> BottleError:
    if any("No module named keyring" in line for line in said):
        return no_value(spec, "the package keyring is not installed beside claude-bottle",
                        f"{sys.executable} -m pip install keyring")  # fmt: skip
    why = said[-1][:200] if said else f"the keyring has no entry {spec.source_detail}"
    return no_value(spec, why, f"{sys.executable} -m keyring set {' '.join(str(spec.source_detail).rsplit('/', 1))}")


def no_value(spec: CredentialSpec, why: str, do: str = "") -> BottleError:
    return BottleError(f"no value for the credential {spec.name!r}", why=why, do=do)


class Refresher:
    """Keeps those of `bound` fresh that have a ttl. They were read at `read_at`, by `now`. `tell` takes new values by
    name, None for one that has expired."""

    def __init__(
        self, loop: Loop, bound: Sequence[BoundCredential], read_at: float, tell: Callable[[Values], None], audit: Audit
    ) -> None:
        self._all = [_Refreshed(loop, one, read_at, tell, audit) for one in bound if one.spec.ttl]

    def tell_expired(self) -> None:
        """For a gate that has just begun with `current`: what of it has expired."""
        for one in self._all:
            one.tell_expired()

    def current(self, bound: Sequence[BoundCredential]) -> tuple[BoundCredential, ...]:
        """`bound` with the values that are known now; whether or not they have expired (`tell_expired`)."""
        known = {one.name: one.secret for one in self._all}
        return tuple(replace(one, secret=known.get(one.spec.name, one.secret)) for one in bound)

    def close(self) -> None:
        """No more refreshing; a command that runs is ended. May be called again."""
        for one in self._all:
            one.close()


class _Refreshed:
    """One credential and its deadlines."""

    def __init__(
        self, loop: Loop, bound: BoundCredential, read_at: float, tell: Callable[[Values], None], audit: Audit
    ) -> None:
        self._loop, self._spec, self._secret, self._tell, self._audit = loop, bound.spec, bound.secret, tell, audit
        self._command: HostCommand | None = None
        self._timer: Timer | None = None
        self._failure = ""
        self._valid_from(read_at)

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def secret(self) -> Secret:
        return self._secret

    def tell_expired(self) -> None:
        if self._expired:
            self._tell({self._spec.name: None})

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._command:
            self._command.end()
            self._command = None

    def _valid_from(self, start: float) -> None:
        self._expired, self._failure = False, ""
        self._expires = start + self._spec.ttl
        part = _EARLIEST + (_LATEST - _EARLIEST) * os.urandom(1)[0] / 255
        self._due = start + self._spec.ttl * part
        self._wait()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        moments = [] if self._expired else [self._expires]
        if self._command is None:
            moments.append(self._due)
        pause = min([_LOOK_SECONDS, *(moment - now() for moment in moments)])
        self._timer = self._loop.later(max(0.0, pause), self._look)

    def _look(self) -> None:
        at = now()
        if at >= self._expires and not self._expired:
            self._expired = True
            self._tell({self._spec.name: None})
            self._audit.fault("a credential has expired", name=self._spec.name, why=self._failure,
                              effect="requests that need it are refused")  # fmt: skip
        if at >= self._due and self._command is None:
            self._ask(at)
        self._wait()

    def _ask(self, at: float) -> None:
        try:
            self._command = HostCommand(
                self._loop, list(self._spec.source_detail), lambda code, out, err: self._answered(at, code, out, err)
            )
        except (OSError, BottleError) as problem:
            self._failed(no_value(self._spec, str(problem)))

    def _answered(self, asked_at: float, code: int, out: bytes, err: bytes) -> None:
        self._command = None
        try:
            self._secret = printed(self._spec, code, out, err, self._secret)
        except BottleError as problem:
            self._failed(problem)
            self._wait()
            return
        self._tell({self._spec.name: self._secret.reveal()})
        self._audit.record(events.CREDENTIAL_READ, name=self._spec.name, source=self._spec.source)
        self._valid_from(asked_at)

    def _failed(self, problem: BottleError) -> None:
        """Journalled once for each way of failing; tried again soon, for as long as the bottle runs."""
        if problem.why != self._failure:
            self._failure = problem.why
            self._audit.fault("a credential could not be read again", name=self._spec.name, why=problem.why)
        self._due = now() + min(max(self._spec.ttl / 20, 1.0), _LOOK_SECONDS)


class HostCommand:
    """A program of the operator's, run beside the loop. `done(exit code, stdout, stderr)` is called once, never after
    `end`; a program that takes longer than COMMAND_SECONDS or prints too much is killed. OSError when it cannot be
    started."""

    def __init__(
        self, loop: Loop, argv: Sequence[str], done: Callable[[int, bytes, bytes], None], *, stdin: int = proc.DEVNULL
    ) -> None:
        self._loop, self._done = loop, done
        self._process = proc.popen(
            argv, env=dict(os.environ), cwd=COMMAND_CWD, stdin=stdin, stdout=proc.PIPE, stderr=proc.PIPE,
            start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip
        self._written: dict[int, bytearray] = {}
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                os.set_blocking(pipe.fileno(), False)
                self._written[pipe.fileno()] = bytearray()
                loop.watch(pipe.fileno(), READ, partial(self._readable, pipe.fileno()))
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.watch(self._pidfd, READ, lambda _ready: self._ended())
        self._timer = loop.later(COMMAND_SECONDS, self._kill)

    def end(self) -> None:
        """Kill it; nobody hears of it."""
        self._kill()
        self._release()

    def _readable(self, fd: int, _ready: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> bool:
        """Whether there was anything to read."""
        try:
            data = os.read(fd, _OUTPUT_LIMIT)
        except BlockingIOError:
            return False
        self._written[fd] += data
        if len(self._written[fd]) > _OUTPUT_LIMIT:
            self._kill()
            return False
        if not data:
            self._loop.unwatch(fd)
        return bool(data)

    def _ended(self) -> None:
        """A child left behind may keep the pipes open, so what they hold now is all."""
        for fd in self._written:
            while self._read(fd):
                pass
        out, err = (bytes(written) for written in self._written.values())
        self._done(self._release(), out, err)

    def _release(self) -> int:
        self._timer.cancel()
        for fd in (*self._written, self._pidfd):
            self._loop.unwatch(fd)
        os.close(self._pidfd)
        with self._process:  # closes the pipes, collects the process
            pass
        return self._process.returncode

    def _kill(self) -> None:
        """With everything it started; its process group is its own."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
