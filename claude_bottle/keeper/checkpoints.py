"""Checkpoints of a running bottle, taken when a client asks for one.

Its programs stand still while the files are copied, where the place can do that, and while what lies elsewhere is fetched.
Both take a moment, so they happen on a thread of their own, one at a time and never beside a fetch of the conversation, and
the loop goes on moving the operator's bytes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

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


class Checkpoints:
    """Of one bottle. `close` waits for the one that is being taken."""

    def __init__(self, order: Order, booted: Booted) -> None:
        self._order, self._booted = order, booted
        self._done, self._finished = os.pipe()
        self._thread: threading.Thread | None = None
        self._asked: Connection | None = None
        self._made: Checkpoint | None = None
        self._problem: BottleError | None = None
        booted.loop.watch(self._done, READ, self._taken)

    def ask(self, connection: Connection, message: Message) -> None:
        """Take one; `connection` hears of it when it is there."""
        if self._thread is not None:
            raise BottleError("a checkpoint of this bottle is being taken", do="wait for it, then ask again")
        wanted = message.get("name")
        name = checkpoints.check_name(wanted) if isinstance(wanted, str) and wanted else ""
        name = name or checkpoints.next_name(self._order.paths, self._order.identity)
        self._asked = connection
        self._thread = threading.Thread(target=self._take, args=(name,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._taken(0)
        if self._done >= 0:
            self._booted.loop.unwatch(self._done)
            os.close(self._done)
            os.close(self._finished)
            self._done = self._finished = -1

    def _take(self, name: str) -> None:
        self._made = self._problem = None
        try:
            with ALONE, self._booted.bottle.standing_still():
                self._booted.bottle.fetch_home()
                _, session = settle.archive(self._order, self._booted.store.load(self._order.identity))
                record = self._booted.store.load(self._order.identity)._replace(session_id=session)
                work = self._order.plan.workspace
                self._made = checkpointing.take(self._order.paths, record, work.mode, work.source, name, running=True)
        except BottleError as problem:
            self._problem = problem
        except Exception as bug:
            self._problem = BottleError("no checkpoint could be taken", why=f"{type(bug).__name__}: {bug}")
        os.write(self._finished, b".")

    def _taken(self, _ready: int) -> None:
        os.read(self._done, 1)
        thread, asked, self._thread, self._asked = self._thread, self._asked, None, None
        if thread is None:
            return
        thread.join()
        if self._made is not None:
            self._booted.audit.record(events.CHECKPOINT, name=self._made.name, session=self._made.session_id)
        if asked is None:
            return
        if self._made is not None:
            asked.send({"op": "checkpointed", **self._made.to_dict()})
        elif self._problem is not None:
            asked.fail(self._problem)
