"""Checkpoints of a running bottle, taken when a client asks for one, or at the end of a turn where that is wanted.

Its programs stand still while the files are copied, where the place can do that, and while what lies elsewhere is fetched.
Both take a moment, so they happen on a thread of their own, one at a time and never beside a fetch of the conversation, and
the loop goes on moving the operator's bytes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper import checkpointing, settle
from claude_bottle.keeper.loop import READ
from claude_bottle.keeper.snapshots import ALONE
from claude_bottle.model import events
from claude_bottle.state import checkpoints

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.control import Connection, Message
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.checkpoints import Checkpoint


class _Wanted(NamedTuple):
    """`connection` hears of it; `keep`: how many of those that were made at the end of a turn stay, 0 for all."""

    name: str = ""
    connection: Connection | None = None
    keep: int = 0
    made: str = checkpoints.OPERATOR


class Checkpoints:
    """Of one bottle. `close` waits for the one that is being taken."""

    def __init__(self, order: Order, booted: Booted) -> None:
        self._order, self._booted = order, booted
        self._done, self._finished = os.pipe()
        self._thread: threading.Thread | None = None
        self._wanted: list[_Wanted] = []  # the first is being taken
        self._made: Checkpoint | None = None
        self._problem: BottleError | None = None
        booted.loop.watch(self._done, READ, self._taken)

    def ask(self, connection: Connection, message: Message) -> None:
        """Take one; `connection` hears of it when it is there."""
        if any(one.connection for one in self._wanted):
            raise BottleError("a checkpoint of this bottle is being taken", do="wait for it, then ask again")
        wanted = message.get("name")
        name = checkpoints.check_name(wanted) if isinstance(wanted, str) and wanted else ""
        made = checkpoints.FORK if message.get("made") == checkpoints.FORK else checkpoints.OPERATOR
        self._want(_Wanted(name, connection, made=made))

    def turn_ended(self, keep: int) -> None:
        """Take one of those that nobody asks for by name, unless one is about to be taken anyway."""
        if not any(one.keep for one in self._wanted[1:]):
            self._want(_Wanted(keep=keep, made=checkpoints.TURN))

    def close(self) -> None:
        for one in self._wanted[1:]:
            if one.connection:
                one.connection.fail(BottleError("the bottle goes down"))
        del self._wanted[1:]
        if self._thread is not None:
            self._thread.join()
            self._taken(0)
        if self._done >= 0:
            self._booted.loop.unwatch(self._done)
            os.close(self._done)
            os.close(self._finished)
            self._done = self._finished = -1

    def _want(self, one: _Wanted) -> None:
        self._wanted.append(one)
        if self._thread is None:
            self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._take, args=(self._wanted[0],), daemon=True)
        self._thread.start()

    def _take(self, wanted: _Wanted) -> None:
        self._made = self._problem = None
        order = self._order
        try:
            with ALONE, self._booted.bottle.standing_still():
                self._booted.bottle.fetch_home()
                _, session = settle.archive(order, self._booted.store.load(order.identity))
                record = self._booted.store.load(order.identity)._replace(session_id=session)
                self._made = checkpointing.take(order.paths, record, order.plan.workspace, wanted.name, running=True,
                                                made=wanted.made)  # fmt: skip
                if wanted.keep:
                    checkpointing.prune(order.paths, order.identity, wanted.keep)
        except BottleError as problem:
            self._problem = problem
        except Exception as bug:
            self._problem = BottleError("no checkpoint could be taken", why=f"{type(bug).__name__}: {bug}")
        os.write(self._finished, b".")

    def _taken(self, _ready: int) -> None:
        os.read(self._done, 1)
        if self._thread is None:
            return
        self._thread.join()
        self._thread, asked = None, self._wanted.pop(0).connection
        made, problem = self._made, self._problem
        if made is not None:
            self._booted.audit.record(events.CHECKPOINT, name=made.name, session=made.session_id)
        if problem is not None and asked is None:
            self._booted.audit.problem(problem)
        if self._wanted:
            self._begin()
        if asked is not None and problem is not None:
            asked.fail(problem)
        elif asked is not None and made is not None:
            asked.send({"op": "checkpointed", **made.to_dict()})
