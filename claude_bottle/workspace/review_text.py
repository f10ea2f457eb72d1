"""A review as an operator reads it: what runs later first, then the rest. Every line is safe to print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.redact import columns, printable

_MARKS = {"added": "new", "removed": "gone", "renamed": "renamed"}
_LANDINGS = {"same": "already there", "merge": "merges", "conflict": "conflict", "left": "stays in the bottle"}
_NAME, _MOST_EDITS, _NOTE = 44, 20, 200
# Of the first character of a line in a hunk: its colour, and in how many of the two sides it is.
_SHADES: dict[str, tuple[str | None, int]] = {" ": (None, 2), "+": ("green", 1), "-": ("red", 1)}
_HUNK = re.compile(r"@@ -\d+(?:,(\d{1,9}))? \+\d+(?:,(\d{1,9}))? @@")


def render(found: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Lines, each with a colour or None."""
    lines: list[tuple[str, str | None]] = [(_headline(found), None)]
    changes = {change["path"]: change for change in found["changes"]}
    if found["triggers"]:
        lines += [("", None), ("runs later on this machine — needs --allow", "yellow")]
        for name, entries in found["triggers"].items():
            lines.append((f"  {name}", "yellow"))
            lines += [_row(changes[entry["path"]], entry["why"], "    ") for entry in entries]
    rest = [change for change in found["changes"] if not change["triggers"]]
    if rest:
        lines += [("", None), ("everything else" if found["triggers"] else "changes", None)]
        lines += [_row(change, "", "  ") for change in rest]
    if found["repository"]:
        lines += [("", None), ("changed inside git's own files — never carried over", "yellow")]
        lines += [(f"  {_safe(path)}", None) for path in found["repository"]]
    if found["host_edits"]:
        lines += [("", None), ("changed on the host since the bottle was begun, below its layer", "yellow")]
        lines += [(f"  {_safe(path)}", None) for path in found["host_edits"][:_MOST_EDITS]]
        more = len(found["host_edits"]) - _MOST_EDITS
        lines += [(f"  and {more} more", None)] if more > 0 else []
    if found["notes"]:
        lines += [("", None), ("left out", None), *((f"  {whole_end(note)}", None) for note in found["notes"])]
    if found["unshown"]:
        lines += [("", None), ("not in the patch", None)]
        lines += [(f"  {_safe(path)}: {_safe(why)}", None) for path, why in found["unshown"].items()]
    return lines


def _headline(found: Mapping[str, Any]) -> str:
    count = found["files"]
    parts = [f"{count} file{'s' if count != 1 else ''}, +{found['added']} −{found['removed']}"]
    if found["base"]:
        parts.append(f"on {_safe(found['branch']) or 'HEAD'} @ {found['base'][:7]}")
    if found["commits"]:
        parts.append(f"in {_many(found['commits'], 'commit')}")
    return f"{' '.join(parts)} ({_standing(found)})"


def _standing(found: Mapping[str, Any]) -> str:
    """How it would land."""
    ahead = f"host is {_many(found['host_commits'], 'commit')} ahead, " if found["host_commits"] else ""
    if found["conflicts"]:
        return f"{ahead}{_many(found['conflicts'], 'conflict')}"
    if not found["pending"]:
        return f"{ahead}the host has all of it"
    return f"{ahead}{'merges' if found['merges'] else 'applies'} cleanly"


def _row(change: Mapping[str, Any], why: str, indent: str) -> tuple[str, str | None]:
    name = _safe(change["path"])
    if change.get("former"):
        name = f"{_safe(change['former'])} → {name}"
    if change["kind"] == "directory":
        name += "/"
    if change.get("link"):
        name += f" → {_safe(change['link'])}"
    counts = f"+{change['added']} −{change['removed']}" if change["kind"] == "file" else change["kind"]
    counts = "binary" if change["binary"] else counts
    words = [_MARKS.get(change["status"], ""), _mode(change.get("mode")), _safe(why), _landing(change)]
    padding = " " * max(_NAME - len(indent) - columns(name), 1)
    line = f"{indent}{name}{padding}{counts:<10} {', '.join(filter(None, words))}".rstrip()
    return line, "red" if change["landing"] == "conflict" else None


def _landing(change: Mapping[str, Any]) -> str:
    said = _LANDINGS.get(change["landing"], "")
    return f"{said}: {_safe(change['why'])}" if said and change["why"] else said


def _mode(modes: Sequence[str] | None) -> str:
    if not modes:
        return ""
    return f"mode {modes[0]} → {modes[1]}" if modes[0] else "executable"


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"


def whole_end(note: str) -> str:
    """A note whose end, which says why, stays in sight however long the path before it is. Safe to print."""
    said = printable(note)
    return said if len(said) <= _NOTE else f"{said[: _NOTE // 2]}…{said[-_NOTE // 2 :]}"


def _safe(text: str) -> str:
    return printable(text, width=300)


def patch_lines(patch: bytes) -> list[tuple[str, str | None]]:
    """A patch line by line, each safe to print: what would act on a terminal is visible, a carriage return too."""
    shown: list[tuple[str, str | None]] = []
    left = 0  # lines that the hunk we are in still has, of both sides together
    for line in patch.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        colour = None
        if left > 0 and line[:1] in _SHADES:
            colour, lines = _SHADES[line[0]]
            left -= lines
        elif hunk := _HUNK.match(line):
            colour, left = "cyan", sum(1 if count is None else int(count) for count in hunk.groups())
        shown.append(("\t".join(printable(part) for part in line.split("\t")), colour))
    return shown
