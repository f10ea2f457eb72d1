"""Run a command in a running bottle, with the agent's rights and nothing more."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity
from claude_bottle.errors import UsageError

TAIL = "-- CMD [ARGS]"
EXAMPLES = "claude-bottle exec claude-k3x9qa -- ls -la"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser, running=True)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.attach import execute

    if not options.passed:
        raise UsageError("no command given", do=f"claude-bottle exec {options.identity} -- CMD")
    return execute(options.identity, options.passed)
