"""When grants and requests are over, counted by a clock that nobody sets and that goes on while the machine sleeps.

What is kept for a resume is the wall time of a grant's end and, beside it, this boot's id and where its clock stood. In the
same boot only the clock counts; after another boot only the wall time is left, and one that lies before the grant was made
was set back: then the grant is over. May read the two clocks and the boot's id, nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claude_bottle.state.record import boot_id, unix_time
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_bottle.model.requests import Grant


def boottime() -> float:
    """Seconds of this boot, sleep included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Leases:
    """The moments, by id, at which something is over. `clock`: seconds of this boot; `wall`: Unix time."""

    clock: Callable[[], float] = boottime
    wall: Callable[[], float] = time.time
    due: dict[str, float] = field(default_factory=dict)

    def begin(self, name: str, seconds: float) -> None:
        self.due[name] = self.clock() + seconds

    def until(self, name: str, expires: str) -> None:
        """Over at a wall time (RFC 3339), as it is counted now; at once for one that is none."""
        at = unix_time(expires)
        self.begin(name, 0.0 if at is None else at - self.wall())

    def forget(self, name: str) -> None:
        self.due.pop(name, None)

    def over(self) -> list[str]:
        """What is over by now."""
        now = self.clock()
        return [name for name, at in self.due.items() if at <= now]

    def pause(self, longest: float) -> float:
        """Seconds until the next one is over, at most `longest`."""
        now = self.clock()
        return max(0.0, min([longest, *(at - now for at in self.due.values())]))

    def to_dict(self, names: Iterable[str]) -> dict[str, object]:
        """For the state file: where the clock stood, and when these are over by it."""
        return {"boot": boot_id(), "due": {name: self.due[name] for name in names if name in self.due}}

    def carry(self, grants: Iterable[Grant], saved: object) -> list[str]:
        """Go on with grants of an earlier launch; those that are over. `saved`: what `to_dict` wrote, or anything."""
        known = saved if isinstance(saved, dict) and saved.get("boot") == boot_id() else {}
        moments = known.get("due")
        for one in grants:
            at = moments.get(one.id) if isinstance(moments, dict) else None
            made = unix_time(one.created)
            if isinstance(at, int | float) and not isinstance(at, bool):
                self.due[one.id] = float(at)
            elif made is None or self.wall() < made:
                self.begin(one.id, 0.0)
            else:
                self.until(one.id, one.expires)
        return self.over()
