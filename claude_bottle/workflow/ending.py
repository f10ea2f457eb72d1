"""What the operator is told when a bottle is settled: the same words wherever they were when it ended."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.keeper.settle import WORK
from claude_bottle.state import work_note
from claude_bottle.state.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def tell(paths: Paths, identity: str, settled: Mapping[str, object]) -> None:
    """Say what went wrong, what is kept and how to go on (contract §2, step 9)."""
    for warning in texts(settled.get("warnings")):
        log.warn(warning)
    kept = texts(settled.get("preserved"))
    if kept:
        log.say(f"kept: transcript, home, work   why: {', '.join(kept)}")
        log.say(f"to resume this bottle: claude-bottle resume {identity}")
        if WORK in kept:
            note = work_note.load(paths.work_note(identity))
            log.say(f"{note.text if note and note.text else 'its work'} not carried over yet: "
                    f"claude-bottle diff {identity} shows it, apply {identity} puts it into your directory")  # fmt: skip


def texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
