"""What `apply` did, as an operator reads it, and the exit code it ends with. Nothing that stayed out goes unsaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.redact import printable
from claude_bottle.workspace.apply import APPLIED, MARKED, MERGED, REFUSED, Outcome
from claude_bottle.workspace.landing import CONFLICT, LEFT, SAME
from claude_bottle.workspace.review_text import whole_end

_WORDS = {
    APPLIED: ("applied", "would apply", "green"),
    MERGED: ("merged with what you changed", "would merge with what you changed", "green"),
    MARKED: ("conflicts marked in the file", "would mark the conflicts in the file", "yellow"),
    SAME: ("already there", "already there", None),
    CONFLICT: ("conflict — your file is as it was", "conflict — your file would stay as it is", "red"),
    REFUSED: ("runs later on this machine — not applied", "runs later on this machine — would not be applied", "yellow"),
    LEFT: ("stays in the bottle", "would stay in the bottle", None),
}  # fmt: skip
_SHOWN = 200


def code(outcomes: Sequence[Outcome]) -> int:
    """3 when a trigger was refused, 1 when there is a conflict, else 0."""
    done = {outcome.done for outcome in outcomes}
    return 3 if REFUSED in done else 1 if CONFLICT in done else 0


def render(
    identity: str, review: Mapping[str, Any], outcomes: Sequence[Outcome], *, left: str, dry_run: bool
) -> list[tuple[str, str | None]]:
    """Lines, each with a colour or None; every text in them is safe to print."""
    lines: list[tuple[str, str | None]] = []
    for kind in (REFUSED, CONFLICT, MARKED, MERGED, APPLIED, LEFT, SAME):
        found = [outcome for outcome in outcomes if outcome.done == kind]
        if not found:
            continue
        done, would, colour = _WORDS[kind]
        lines.append((f"{would if dry_run else done} ({len(found)})", colour))
        for outcome in found[:_SHOWN] if kind != SAME else ():
            why = f"  {printable(outcome.why)}" if outcome.why else ""
            lines.append((f"  {printable(outcome.path)}{why}", None))
        if kind != SAME and len(found) > _SHOWN:
            lines.append((f"  and {len(found) - _SHOWN} more", None))
    if not outcomes:
        lines.append(("nothing to apply", None))
    lines += [(f"left out: {whole_end(note)}", "yellow") for note in review["notes"]]
    lines += [(f"never carried over: {printable(path)}", "yellow") for path in review["repository"]]
    return [*lines, *_next(identity, review, outcomes, left, dry_run)]


def _next(
    identity: str, review: Mapping[str, Any], outcomes: Sequence[Outcome], left: str, dry_run: bool
) -> list[tuple[str, str | None]]:
    lines: list[tuple[str, str | None]] = []
    missing = sorted({name for outcome in outcomes if outcome.done == REFUSED for name in outcome.why.split(", ")})
    if missing:
        allowing = " ".join(f"--allow {name}" for name in missing)
        lines.append((f"look at it (claude-bottle diff {identity}), then: claude-bottle apply {identity} {allowing}", None))
    if any(outcome.done == CONFLICT for outcome in outcomes):
        lines.append(("merge by hand, or: --conflicts mark (both sides in the file), --conflicts replace (the bottle's)",
                      None))  # fmt: skip
    if review["commits"] and not dry_run:
        lines.append((f"its commits come by: claude-bottle pull {identity}", None))
    if not dry_run:
        nothing = f"nothing is left in it; claude-bottle cleanup {identity} removes it"
        lines.append((f"not carried over yet: {left}" if left else nothing, None))
    return lines
