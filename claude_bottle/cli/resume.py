"""Boot preserved state again: same home, same working directory, same conversation."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_confirmed_launch, add_identity, launch_options

TAIL = "[-- ARGS]"
EXAMPLES = "claude-bottle resume claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    add_confirmed_launch(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.resume import resume

    return resume(options.identity, launch_options(options, name=""))
