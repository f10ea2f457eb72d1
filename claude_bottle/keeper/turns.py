"""Notices in the conversation of a running agent that a turn of it has ended.

The conversation's file is looked at once a second, where it lies on this host or where it is fetched to anyway. It is the
agent's: what it says there makes a checkpoint, of which only so many stay, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.keeper.conversation_tail import ConversationTail

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.keeper.order import Order

_SECONDS = 1.0


class Turns:
    """Calls `ended` when turns have ended since it was last called. What was said before the boot is not looked at."""

    def __init__(self, order: Order, loop: Loop, ended: Callable[[], None]) -> None:
        self._order, self._loop, self._ended = order, loop, ended
        self._session = order.launch.session_id
        self._tail = self._of(self._session)
        self._tail.lines()
        self._timer: Timer = loop.later(_SECONDS, self._look)

    def finish(self) -> None:
        self._timer.cancel()
        self._tail.close()

    def _of(self, session: str) -> ConversationTail:
        return ConversationTail(self._order.paths, self._order.record._replace(session_id=session))

    def _look(self) -> None:
        self._timer = self._loop.later(_SECONDS, self._look)
        latest = self._order.harness.latest_session(self._order.paths.home(self._order.identity))
        if latest is not None and latest != self._session:  # the agent has begun another
            self._tail.close()
            self._session, self._tail = latest, self._of(latest)
        if self._order.harness.ended_turns(self._tail.lines()):
            self._ended()
