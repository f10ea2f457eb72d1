"""msgspec, for the typed load of a manifest: every import of it goes through here.

Where any other package has brought typing_extensions along, msgspec takes from it what typing itself has had since 3.11,
and that import costs more than msgspec's own: 15 of 40 ms, on the way of every launch.
"""

from __future__ import annotations

import sys

__all__ = ["UNSET", "Meta", "Struct", "UnsetType", "ValidationError", "convert", "field", "json"]

_PREFERRED = "typing_extensions"
_hidden = _PREFERRED not in sys.modules
if _hidden:
    sys.modules[_PREFERRED] = None  # type: ignore[assignment]  # to the import system: it is not there
try:
    from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, field, json
finally:
    if _hidden:
        del sys.modules[_PREFERRED]
