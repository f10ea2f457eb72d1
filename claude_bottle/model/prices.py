"""What a model's tokens cost by its maker's list, so that what a bottle spends can be bounded. Pure.

Money is counted in millionths of a US dollar, rounded up. Never less than the list says: a model that is not known costs as
much as the dearest one, in each of its parts, and what the list makes cheaper (batches) is not made cheaper here. What the
operator says (`prices` in config.json) comes first. Source: Anthropic's price list for its API (claude.com/pricing), early
2026; prices change, so an operator's bill has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from claude_bottle.patterns import regex

MICROS = 1_000_000
"""Of a dollar."""
# What is put into a cache for five minutes and what is read from one, as parts of what is read anew; what is kept for an
# hour, as a part of what is kept for five minutes.
_CACHED_SHORT, _FROM_CACHE, _CACHED_LONG = 1.25, 0.1, 1.6


class Price(NamedTuple):
    """US dollars for a million tokens, of what is read and of what is written; of what is read from a cache and put into
    one for five minutes, None for the usual parts of `read`."""

    read: float
    written: float
    from_cache: float | None = None
    cached: float | None = None

    def whole(self) -> tuple[float, float, float, float]:
        """The same with nothing left out."""
        from_cache = self.read * _FROM_CACHE if self.from_cache is None else self.from_cache
        return self.read, self.written, from_cache, self.read * _CACHED_SHORT if self.cached is None else self.cached


Prices = Mapping[str, Price]
"""By name: a model and its dated versions; with a `*` at the end, all whose names begin so. Of several the longest counts."""
NO_PRICES: Prices = MappingProxyType({})
# One by one, for nothing says that the next of a family costs what the last one did.
PRICES: Prices = {
    "claude-opus-4-5": Price(5, 25), "claude-opus-4-6": Price(5, 25), "claude-opus-4-7": Price(5, 25),
    "claude-opus-4": Price(15, 75), "claude-opus-4-0": Price(15, 75), "claude-opus-4-1": Price(15, 75),
    "claude-3-opus": Price(15, 75),
    "claude-sonnet-4": Price(3, 15), "claude-sonnet-4-0": Price(3, 15), "claude-sonnet-4-5": Price(3, 15),
    "claude-sonnet-4-6": Price(3, 15), "claude-3-7-sonnet": Price(3, 15), "claude-3-5-sonnet": Price(3, 15),
    "claude-haiku-4-5": Price(1, 5), "claude-3-5-haiku": Price(0.8, 4), "claude-3-haiku": Price(0.25, 1.25),
}  # fmt: skip
# Above so many tokens read, some models cost more for all of a request.
_LONG, _LONG_READ, _LONG_WRITTEN = 200_000, 2.0, 1.5
_SEARCH = 0.01
NAME = regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_VERSION = regex(r"[-@][0-9]{8}|-latest|")


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


def price_of(model: str, own: Prices = NO_PRICES) -> Price:
    """`own`: what the operator says, which goes before the list."""
    if NAME.fullmatch(model):
        for table in (own, PRICES):
            known = [name for name in table if _stands_for(name, model)]
            if known:
                return table[max(known, key=lambda name: (not name.endswith("*"), len(name)))]
    every = zip(*(price.whole() for price in (*own.values(), *PRICES.values())), strict=True)
    return Price(*map(max, every))


def _stands_for(name: str, model: str) -> bool:
    if name.endswith("*"):
        return model.startswith(name[:-1])
    return model.startswith(name) and _VERSION.fullmatch(model, len(name)) is not None


def cost(model: str, used: Tokens, own: Prices = NO_PRICES) -> int:
    """In millionths of a dollar."""
    read, written, from_cache, cached = price_of(model, own).whole()
    kept = used.cached_short + used.cached_long * _CACHED_LONG
    for_read = used.read * read + used.from_cache * from_cache + kept * cached
    more_read, more_written = (_LONG_READ, _LONG_WRITTEN) if used.all_read > _LONG else (1.0, 1.0)
    micros = for_read * more_read + used.written * written * more_written + used.searches * _SEARCH * MICROS
    return -int(-micros // 1)


def dollars(micros: int) -> str:
    """For people: to the cent, and never nothing for something."""
    return f"${micros / MICROS:.2f}" if micros >= MICROS // 200 or not micros else "<$0.01"
