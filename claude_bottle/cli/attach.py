"""Connect this terminal to a running bottle. Ctrl-] detaches; the agent runs on."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity

EXAMPLES = "claude-bottle attach claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser, running=True)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.attach import attach

    return attach(options.identity)
