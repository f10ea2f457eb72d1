"""The list of checks: each module of checks adds its own by the decorator of its group."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from claude_bottle.testing.conformance.place import Place
    from claude_bottle.testing.conformance.standing import Standing

MODULES = ("launching", "programs", "environment", "terminals", "signalling", "files", "network", "isolation", "layers",
           "ending")  # fmt: skip


class Check(NamedTuple):
    """One check. `name` is its sentence, in the form of a function's name; `group` the part of the contract. `harmless`:
    what it does in the bottle may be done on this host as well. Only such a check ever runs where there is no sandbox:
    the others send signals to everybody, fill tables and write where nothing may be written. `shares`: it asks nothing of its
    bottle that another check's would not have, and leaves it fit for the next one."""

    group: str
    name: str
    function: Callable[[Place], None]
    harmless: bool
    shares: bool

    def run(self, place: Place, standing: Standing | None = None) -> None:
        """AssertionError when the contract is not kept; NeedsSandbox, before anything has run, where it must not run.
        `standing` has the bottle for a check that shares one."""
        if not self.harmless and not place.sandboxed():
            raise NeedsSandbox(f"{self.name} is not for a backend without protections")
        if standing is None or not self.shares:
            self.function(place)
            return
        with standing.lent(place):
            self.function(place)


class NeedsSandbox(Exception):
    """A check that would do harm outside of a sandbox was asked of a backend that is none."""


_FOUND: list[Check] = []


def group(
    name: str, *, harmless: bool = False, shares: bool = False
) -> Callable[[Callable[[Place], None]], Callable[[Place], None]]:
    """A decorator that adds a check to the group `name`."""

    def add(function: Callable[[Place], None]) -> Callable[[Place], None]:
        _FOUND.append(Check(name, function.__name__, function, harmless, shares))
        return function

    return add


def checks() -> list[Check]:
    """All of them, in the order of the contract."""
    for module in MODULES:
        importlib.import_module(f"claude_bottle.testing.conformance.{module}")
    return list(_FOUND)
