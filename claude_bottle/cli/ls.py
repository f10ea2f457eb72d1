"""List bottles: the running ones, and with --all what was preserved."""

from __future__ import annotations

import argparse

from claude_bottle.cli.colour import paint
from claude_bottle.cli.options import add_json
from claude_bottle.state.work_note import UNEXPORTED

EXAMPLES = "claude-bottle ls --all"
_COLUMNS = (("IDENTITY", "identity", 22), ("AGENT", "agent", 13), ("STATE", "status", 12), ("AGE", "age", 6),
            ("PLAN", "plan", 9), ("WORK", "work", 10), ("WHY KEPT", "last", 8))  # fmt: skip
# Where something was spent, that is told, too, in the same width.
_WITH_SPENT = (("IDENTITY", "identity", 20), ("AGENT", "agent", 12), ("STATE", "status", 11), ("AGE", "age", 5),
               ("PLAN", "plan", 9), ("SPENT", "spent", 7), ("WORK", "work", 9), ("WHY KEPT", "last", 8))  # fmt: skip
_COLOURS = {"running": "green", "preserved": "yellow", "interrupted": "yellow", "damaged": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="those that are not running too")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.listing import listing

    rows = listing(everything=options.all)
    if options.json:
        import json

        print(json.dumps({"bottles": rows}, indent=2))
    elif rows:
        columns = _WITH_SPENT if any(row.get("spent") for row in rows) else _COLUMNS
        print(_line({key: title for title, key, _ in columns} | _last_title(rows, options.all), columns))
        for row in rows:
            print(_line(_shown(row), columns))
    else:
        print("no bottles" if options.all else "no bottle is running (ls --all lists preserved ones)")
    return 0


def _last_title(rows: list[dict[str, object]], everything: bool) -> dict[str, str]:
    """A running bottle may wait for its operator, another one is kept for a reason: one column says either."""
    if not everything:
        return {"last": "WAITING"}
    return {"last": "WAITING, OR WHY KEPT"} if any(row.get("waiting") for row in rows) else {}


def _shown(row: dict[str, object]) -> dict[str, object]:
    """What the work column says, the reason need not say again."""
    why = "" if row.get("work") and row.get("why") == UNEXPORTED else row.get("why")
    edits = row.get("host_edits")
    return row | {"last": row.get("waiting") or why or (f"! {edits} changed on the host below it" if edits else "")}


def _line(row: dict[str, object] | dict[str, str], columns: tuple[tuple[str, str, int], ...]) -> str:
    """Aligned cells; one that is too long pushes the rest along rather than lose what one may need to type."""
    cells = []
    for _, key, width in columns:
        text = str(row.get(key) or "–")
        padding = " " * max(width - 1 - len(text), 0)
        colour = _COLOURS.get(text) if key == "status" else "yellow" if key == "last" and text.startswith("! ") else None
        cells.append(paint(text, colour) + padding)
    return " ".join(cells).rstrip()
