"""End a running bottle and wait until it is settled."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.keeper.reaching import reach
from claude_bottle.model.names import check_identity
from claude_bottle.state import record as records
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.workflow.ending import tell


def stop(identity: str, *, keep: bool, timeout: float, paths: Paths | None = None) -> int:
    """The verb. BottleError when it does not run; one that starts is stopped once it is up, one that is being settled is
    waited for. 0 once nothing of it runs any more."""
    check_identity(identity)
    paths = paths or Paths.default()
    control = reach(paths, identity)
    if control is None:
        log.say(f"{identity} had ended already")
        _tell_kept(paths, identity)
        return 0
    with control:
        outcome = control.stop(timeout, keep)
        settled = control.settled()
    log.say(f"{identity} has ended" + (f" (exit {outcome.code})" if outcome.code is not None else ""))
    if settled is None:
        _warn_killed()
    else:
        tell(paths, identity, settled)
    return 0


def _tell_kept(paths: Paths, identity: str) -> None:
    """What became of a bottle that somebody else has ended."""
    record = Store(paths).find(identity)
    if record is None:
        return
    if records.effective_status(record) == records.INTERRUPTED:
        _warn_killed()
    else:
        tell(paths, identity, {"preserved": list(record.preserved)})


def _warn_killed() -> None:
    log.warn("its keeper was killed; claude-bottle ls --all shows what is kept")
