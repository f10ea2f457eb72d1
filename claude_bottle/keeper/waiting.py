"""How an operator notices that a bottle asks, or gets what it asked for: the title and bell of attached terminals, and a
command of their own.

The title goes as a message, never as output: what an agent writes cannot contain one (`filter` drops titles), and the CLI
makes the escape sequence itself. The command gets the request as JSON on its stdin; nothing of it is in its arguments.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.credentials import HostCommand
from claude_bottle.model.requests import SUBMITTED
from claude_bottle.redact import printable
from claude_bottle.state.marker import marker
from claude_bottle.supervise.render import view
from claude_bottle.supervise.summary import summary

if TYPE_CHECKING:
    from claude_bottle.keeper.control import Message
    from claude_bottle.keeper.inbox import Requests
    from claude_bottle.keeper.session import Session
    from claude_bottle.model.requests import Request

# Requests whose command has not been run yet; more are not told one by one.
_MOST_QUEUED = 32


class Waiting:
    """Tells of one bottle's requests. `session` None: nobody can be attached."""

    def __init__(self, requests: Requests, session: Session | None) -> None:
        self._requests, self._session = requests, session
        self._rung: set[str] = set()
        self._queue: list[Request] = []
        self._command: HostCommand | None = None
        self._failure = ""
        requests.on_change.append(self._changed)

    def close(self) -> None:
        self._queue.clear()
        if self._command:
            self._command.end()
            self._command = None

    def message(self, *, bell: bool = False) -> Message:
        """What an attached terminal shall show: the title, "" for its own. What stands where no request waits."""
        waiting = self._requests.inbox.waiting
        if not waiting:
            standing = self._session.standing if self._session else ""
            return {"op": "waiting", "title": self._under_way() or standing, "bell": False}
        more = f" (+{len(waiting) - 1})" if len(waiting) > 1 else ""
        what = summary(waiting[-1].change.to_dict())
        return {"op": "waiting", "title": f"{self._head()}{self._requests.inbox.bottle} asks: {what}{more}", "bell": bell}

    def _under_way(self) -> str:
        """What is being built or booted for it, and the last line of that."""
        busy, said = self._requests.rebooter.busy, "".join(self._requests.progress.values())
        return f"{self._head()}{self._requests.inbox.bottle} is {busy}{': ' if said else ''}{said}" if busy else ""

    def _head(self) -> str:
        """The operator's marker, which no agent knows; without one the title is still ours alone."""
        try:
            return f"◆ {marker(self._requests.order.paths)} · "
        except BottleError as problem:
            self._failed(problem.what)
            return ""

    def _changed(self, request: Request | None) -> None:
        waiting = self._requests.inbox.waiting
        new = [one for one in waiting if one.id not in self._rung and one == request]
        self._rung = {one.id for one in waiting}
        if self._session:
            self._session.say(self.message(bell=bool(new)))
        if self._requests.order.notify and len(self._queue) < _MOST_QUEUED:
            self._queue += [one for one in new if one.via != "operator"]
            self._run()

    def _run(self) -> None:
        """The command for the next request; one runs at a time."""
        if self._command or not self._queue:
            return
        request = self._queue.pop(0)
        if request.state != SUBMITTED:
            return
        given = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(given), "wb") as file:
                file.write(json.dumps(view(request, self._requests.surroundings())).encode())
            os.lseek(given, 0, os.SEEK_SET)
            argv = list(self._requests.order.notify)
            self._command = HostCommand(self._requests.booted.loop, argv, self._ended, stdin=given)
        except (OSError, BottleError) as problem:
            self._failed(str(problem))
        finally:
            os.close(given)

    def _ended(self, code: int, _out: bytes, err: bytes) -> None:
        self._command = None
        if code != 0:
            said = err.decode("utf-8", "replace").strip().splitlines()[-1:]
            self._failed(printable(f"it ended with {code}: {' '.join(said)}", width=200))
        self._run()

    def _failed(self, why: str) -> None:
        """Journalled once for each way of failing."""
        if why != self._failure:
            self._failure = why
            self._requests.booted.audit.fault("the operator could not be told of a request", why=why)
