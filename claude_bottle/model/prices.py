"""What a model's tokens cost by its maker's list, so that what a bottle spends can be bounded. Pure.

Money is counted in millionths of a US dollar, rounded up. Never less than the list says: a model that is not known costs as
much as the dearest one, and what the list makes cheaper (batches) is not made cheaper here. Source: Anthropic's price list
for its API (claude.com/pricing), early 2026; prices change, so an operator's bill has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MICROS = 1_000_000
"""Of a dollar."""


class Price(NamedTuple):
    """US dollars for a million tokens, of what is read and of what is written."""

    read: float
    written: float


# By how names begin; of several the longest counts.
PRICES = {
    "claude-opus-4-": Price(5, 25), "claude-opus-4-0": Price(15, 75), "claude-opus-4-1": Price(15, 75),
    "claude-opus-4-2025": Price(15, 75), "claude-3-opus": Price(15, 75),
    "claude-sonnet-": Price(3, 15), "claude-3-7-sonnet": Price(3, 15), "claude-3-5-sonnet": Price(3, 15),
    "claude-haiku-": Price(1, 5), "claude-3-5-haiku": Price(0.8, 4), "claude-3-haiku": Price(0.25, 1.25),
}  # fmt: skip
DEAREST = max(PRICES.values(), key=lambda price: price.written)
# What is put into a cache for five minutes, for an hour, and what is read from one, as parts of what is read anew.
_CACHED_SHORT, _CACHED_LONG, _FROM_CACHE = 1.25, 2.0, 0.1
# Above so many tokens read, some models cost more for all of a request.
_LONG, _LONG_READ, _LONG_WRITTEN = 200_000, 2.0, 1.5
_SEARCH = 0.01
_NAME = re.compile(r"[a-z0-9.-]{1,100}")


class Tokens(NamedTuple):
    """What one answer says it used: `read` anew, put into and read from caches, `written`, and searches of the web."""

    read: int = 0
    cached_short: int = 0
    cached_long: int = 0
    from_cache: int = 0
    written: int = 0
    searches: int = 0

    @property
    def all_read(self) -> int:
        return self.read + self.cached_short + self.cached_long + self.from_cache


def price_of(model: str, table: Mapping[str, Price] = PRICES) -> Price:
    if not _NAME.fullmatch(model):
        return DEAREST
    known = [name for name in table if model.startswith(name)]
    return table[max(known, key=len)] if known else DEAREST


def cost(model: str, used: Tokens) -> int:
    """In millionths of a dollar."""
    price = price_of(model)
    read, written = (_LONG_READ, _LONG_WRITTEN) if used.all_read > _LONG else (1.0, 1.0)
    weighed = used.read + used.cached_short * _CACHED_SHORT + used.cached_long * _CACHED_LONG + used.from_cache * _FROM_CACHE
    micros = weighed * price.read * read + used.written * price.written * written + used.searches * _SEARCH * MICROS
    return -int(-micros // 1)


def dollars(micros: int) -> str:
    """For people: to the cent, and never nothing for something."""
    return f"${micros / MICROS:.2f}" if micros >= MICROS // 200 or not micros else "<$0.01"
