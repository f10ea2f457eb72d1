"""Presets: named sets of rules that ship as data files, one JSON file each, with a version.

A preset is written in the manifest's own language and read by the same code. Files are found by listing the
directory, so no name can lead out of it, and only those a manifest uses are read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.manifest.shape import PresetDoc

_DIRECTORY = Path(__file__).parent / "presets"


@cache
def names() -> tuple[str, ...]:
    """Every preset there is, sorted."""
    return tuple(sorted(file.stem for file in _DIRECTORY.glob("*.json")))


@cache
def preset(name: str) -> PresetDoc | None:
    """The preset called `name`, or None."""
    if name not in names():
        return None

    from claude_bottle.manifest import typed
    from claude_bottle.manifest.shape import PresetDoc

    return typed.json.decode((_DIRECTORY / f"{name}.json").read_bytes(), type=PresetDoc)
