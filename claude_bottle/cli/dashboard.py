"""All bottles at once: what they do, what they ask, what they tried to reach, what they changed; decide, revoke, attach.

Every key has its command: requests, approve, reject, grants, revoke, log, egress, transcript, watch, diff, checkpoint,
attach.
"""

from __future__ import annotations

import argparse

EXAMPLES = "claude-bottle dashboard"


def configure(parser: argparse.ArgumentParser) -> None:
    """It takes no options of its own."""


def run(options: argparse.Namespace) -> int:
    from claude_bottle.dashboard.tui.main import run as show

    return show()
