"""The page of bottles: one line each, and everything known of the one under the cursor. Pure."""

from __future__ import annotations

from claude_bottle.dashboard.asking import head
from claude_bottle.dashboard.board import Board, Watched
from claude_bottle.dashboard.lines import BAD, DIM, GOOD, HEAD, STRONG, WIDE, Line, cells, line, wrapped
from claude_bottle.workflow.usage import Usage

_TONES = {"running": GOOD, "starting": WIDE, "settling": WIDE, "damaged": BAD, "newer": BAD}
# Without and with the room of a wide terminal.
_NARROW = (("IDENTITY", 20), ("STATE", 11), ("AGE", 5), ("CPU", 5), ("MEMORY", 8), ("SPENT", 6), ("WAITING", 7),
           ("LAST", 200))  # fmt: skip
_WIDE = (("IDENTITY", 26), ("STATE", 11), ("AGE", 5), ("CPU", 6), ("MEMORY", 9), ("SPENT", 8), ("WAITING", 24),
         ("LAST", 400))  # fmt: skip
_WIDE_FROM = 110


def columns(width: int) -> tuple[tuple[str, int], ...]:
    return _WIDE if width >= _WIDE_FROM else _NARROW


def lines(board: Board, width: int) -> list[Line]:
    """A head and one line a bottle, running ones first. `key` is the identity."""
    shown = sorted(board.bottles.values(), key=lambda watched: not watched.running)
    if not shown:
        return [line("no bottles yet: claude-bottle start NAME", DIM)]
    wanted = columns(width)
    rows = [_row(watched, wanted) for watched in shown]
    return [line(cells((title, size) for title, size in wanted), HEAD), *rows]


def detail(watched: Watched) -> list[Line]:
    """Everything known of one bottle, wrapped."""
    row = watched.row
    said = [line(watched.identity, STRONG), line("")]
    for label in ("agent", "harness", "backend", "status", "age", "plan", "spent", "why", "cwd"):
        if row.get(label):
            said += [line(text) for text in wrapped(str(row[label]), first=f"{label:<10}", rest=" " * 10)]
    if watched.running:
        said += [line(f"{'cpu':<10}{cpu(watched.usage)}"), line(f"{'memory':<10}{memory(watched.usage)}"),
                 line(f"{'attached':<10}{watched.status.get('attached', '?')}"),
                 line(f"{'gate':<10}{watched.status.get('gate', '?')}")]  # fmt: skip
    if given := [view for view in watched.grants if not view.get("ended")]:
        words = ", ".join(str(view.get("summary")) for view in given)
        said += [line(text) for text in wrapped(words, first="granted   ", rest=" " * 10)]
    if watched.running and row.get("host_edits"):
        said += [line(f"{'host':<10}! {row['host_edits']} paths changed below it (claude-bottle diff names them)", WIDE)]
    if watched.problem:
        said += [line(text, WIDE) for text in wrapped(watched.problem, first="requests  ", rest=" " * 10)]
    said += [line(text, STRONG) for item in watched.waiting for text in wrapped(head(item.identity, item.view), first="! ")]
    if watched.last:
        said += [line(""), *(line(text, DIM) for text in wrapped(watched.last))]
    return said


def cpu(usage: Usage | None) -> str:
    return "–" if usage is None or usage.cpu is None else f"{usage.cpu * 100:.0f} %"


def memory(usage: Usage | None) -> str:
    if usage is None:
        return "–"
    mebibytes = usage.memory / (1 << 20)
    return f"{mebibytes:.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.1f} GiB"


def _row(watched: Watched, wanted: tuple[tuple[str, int], ...]) -> Line:
    row, waiting = watched.row, watched.waiting
    first = str(waiting[0].view.get("summary", "")) if waiting else ""
    values = {
        "IDENTITY": watched.identity, "STATE": str(row["status"]), "AGE": str(row.get("age") or "–"),
        "CPU": cpu(watched.usage), "MEMORY": memory(watched.usage), "LAST": _last(watched),
        "SPENT": str(row.get("spent") or "–"),
        "WAITING": f"! {len(waiting)}{f' {first}' if wanted is _WIDE else ''}" if waiting else "–",
    }  # fmt: skip
    tone = STRONG if waiting else WIDE if watched.problem or row.get("host_edits") else _TONES.get(str(row["status"]), DIM)
    return line(cells((values[title], size) for title, size in wanted), tone, watched.identity)


def _last(watched: Watched) -> str:
    if watched.problem:
        return f"! {watched.problem}"
    return watched.last or str(watched.row.get("why") or "")
