"""What a bottle tried to reach, and what the gate said: one line per decision."""

from __future__ import annotations

import argparse

import claude_bottle.cli.log as journal
from claude_bottle.model.events import EGRESS

EXAMPLES = "claude-bottle egress claude-k3x9qa"
configure = journal.add_reading


def run(options: argparse.Namespace) -> int:
    return journal.show(options, EGRESS)
