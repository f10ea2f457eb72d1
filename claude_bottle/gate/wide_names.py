"""How many names a bottle may make of the wildcards it is granted, and what they may look like.

Whoever owns a domain's name server reads every name that is asked below it, so the leftmost label is a way out that no
rule on methods or paths sees. It is made narrow: a name with more in it than people put there is refused, new names come
a few at a time, and there is an end to them. A name once admitted stays so. No I/O.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

MOST_NAMES = 1024
BURST = 32
SECONDS_EACH = 10.0
# Shannon's measure of the label's own letters times their number. Words and numbers stay below it at any usual length
# (`europe-west4-docker` has 67); forty letters of base32 have about 180.
MOST_BITS = 128.0


class WideNames:
    """The names of one bottle that only wildcards grant."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: set[str] = set()
        self._left, self._since = float(BURST), clock()

    def admit(self, host: str) -> bool:
        """Whether this name (canonical) may be used."""
        if host in self._known:
            return True
        if len(self._known) >= MOST_NAMES or bits(host.partition(".")[0]) > MOST_BITS:
            return False
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._since) / SECONDS_EACH)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        self._known.add(host)
        return True


def bits(label: str) -> float:
    """How much a label can carry, in bits, by how often its letters come."""
    counts = Counter(label).values()
    return -sum(count * math.log2(count / len(label)) for count in counts)
