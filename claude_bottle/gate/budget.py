"""How many bytes a bottle may still send out: counted as they go up, on all its connections together.

Counted is what this bottle makes its servers receive: request heads and bodies as they are written, and every byte of a
tunnel; not the TLS around them, which is the gate's own. A budget that is used up ends what is being sent. No I/O.
"""

from __future__ import annotations


class Budget:
    """`limit` None: no bound. `spent`: by earlier runs of the same bottle, and by this one since."""

    __slots__ = ("limit", "spent", "told")

    def __init__(self, limit: int | None = None, spent: int = 0) -> None:
        self.limit, self.spent = limit, spent
        self.told = spent
        """What the keeper has last been told."""

    @property
    def left(self) -> int | None:
        """None when there is no bound."""
        return None if self.limit is None else max(0, self.limit - self.spent)

    @property
    def spent_up(self) -> bool:
        return self.limit is not None and self.spent >= self.limit

    def takes(self, count: int) -> bool:
        """Count bytes that are about to go up; False, and nothing counted, when they are more than is left."""
        left = self.left
        if left is not None and count > left:
            return False
        self.spent += count
        return True
