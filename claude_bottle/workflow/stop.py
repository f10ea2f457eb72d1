"""End a running bottle and wait until it is settled."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.keeper.client import Control
from claude_bottle.model.names import check_identity
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.ending import tell


def stop(identity: str, *, keep: bool, timeout: float, paths: Paths | None = None) -> int:
    """The verb. BottleError when it does not run. 0 once nothing of it runs any more."""
    check_identity(identity)
    paths = paths or Paths.default()
    with Control(paths, identity) as control:
        outcome = control.stop(timeout, keep)
        settled = control.settled()
    log.say(f"{identity} has ended" + (f" (exit {outcome.code})" if outcome.code is not None else ""))
    if settled is None:
        log.warn("its keeper was killed; claude-bottle ls --all shows what is kept")
    else:
        tell(paths, identity, settled)
    return 0
