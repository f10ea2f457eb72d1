"""Talking to a running bottle from this terminal: attach, exec, and what is said when a session ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from claude_bottle import log
from claude_bottle.keeper.client import DETACHED, LOST, Control, lost
from claude_bottle.model.names import check_identity
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.ending import tell
from claude_bottle.workflow.terminal import mend


def attach(identity: str, paths: Paths | None = None) -> int:
    """The verb. 0 once the operator has left or the session has ended."""
    mend()
    check_identity(identity)
    return follow(paths or Paths.default(), identity)


def follow(paths: Paths, identity: str, connection: socket.socket | None = None) -> int:
    """Lend this terminal to the agent; then say how it ended (contract §2, steps 7 and 9)."""
    with Control(paths, identity, connection) as control:
        outcome = control.attach()
        if outcome.how == DETACHED:
            log.say(f"detached; {identity} runs on (claude-bottle attach {identity})")
            return 0
        if outcome.how == LOST:
            raise lost(identity)
        log.say(f"session ended (exit {outcome.code}); container {identity} will be removed")
        settled = control.settled()
    if settled is None:
        raise lost(identity)
    tell(paths, identity, settled)
    return 0


def execute(identity: str, argv: Sequence[str], paths: Paths | None = None) -> int:
    """The verb `exec`: the command's own exit code. With a terminal when stdin and stdout are one."""
    mend()
    check_identity(identity)
    tty = os.isatty(0) and os.isatty(1)
    with Control(paths or Paths.default(), identity) as control:
        return control.exec(list(argv), tty=tty)
