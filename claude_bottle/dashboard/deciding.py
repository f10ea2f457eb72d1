"""When a key pressed in a dialog counts as a decision: the rules, without a screen and with the time given. Pure.

A decision needs the whole item to have been on the screen, one screenful after the other; a dialog that has stood for a
moment while nobody typed, so that what was typed for something else decides nothing; and a key that comes alone, because a
paste or a cat on the keyboard is many. A dialog that could not watch (the machine stood still) begins its moment anew.
"""

from __future__ import annotations

QUIET = 0.6
"""Seconds without a key before any key counts."""
ALONE = 0.2
"""Seconds after a key in which no other may come."""
WATCHED = 2
"""Beats after a key at least, however late they come: what lies unread in the terminal has been read by then."""
STALL = 0.7
"""Seconds between two beats after which nobody knows what was typed in between."""


class Deciding:
    """Of one dialog with `total` lines, from the moment it is on the screen. `beat` is called several times a second."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._seen = 0
        self._quiet_since: float | None = None
        self._armed_at: float | None = None
        self._beat = 0.0
        self._key: tuple[str, float] | None = None
        self._beats_since = 0

    @property
    def complete(self) -> bool:
        """Whether every line has been on the screen."""
        return self._seen >= self.total

    @property
    def armed(self) -> bool:
        return self._armed_at is not None

    @property
    def pending(self) -> bool:
        """Whether a key waits for nothing to follow it."""
        return self._key is not None

    def window(self, first: int, end: int) -> None:
        """Lines `first` to `end` are on the screen. A leap over lines shows what it leaps over to nobody."""
        if first <= self._seen:
            self._seen = max(self._seen, min(end, self.total))

    def beat(self, now: float) -> str | None:
        """The key that has decided, if one has."""
        if self._quiet_since is None or now - self._beat > STALL:
            self._restart(now)
        self._beat = now
        if self._armed_at is None and now - (self._quiet_since or now) >= QUIET:
            self._armed_at = now
        self._beats_since += 1
        if self._key and now - self._key[1] >= ALONE and self._beats_since >= WATCHED:
            key, self._key = self._key[0], None
            return key
        return None

    def typed(self, key: str, at: float) -> None:
        """A key that would decide something, typed at `at`."""
        if self._armed_at is None or at < self._armed_at or self._key is not None:
            self._restart(at)
        else:
            self._key, self._beats_since = (key, at), 0

    def disturbed(self, at: float) -> None:
        """Something that decides nothing (scrolling). A key just before it was not alone."""
        if self._key is not None:
            self._restart(at)

    def pasted(self, at: float) -> None:
        self._restart(at)

    def _restart(self, at: float) -> None:
        self._quiet_since, self._armed_at, self._key = at, None, None
