"""Show the plan, ask, boot the bottle, attach this terminal to the agent, and settle when it ends."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from claude_bottle.cli.options import add_confirmed_launch, launch_options

TAIL = "[-- ARGS]"
EXAMPLES = """\
claude-bottle start claude
claude-bottle start claude --dry-run --format json
claude-bottle start claude --yes -- --model opus"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="an agent of the manifest; ARGS go to it")
    add_confirmed_launch(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.start import start

    return start(launch_options(options, name=options.name))


def cmd_start(argv: Sequence[str]) -> int:
    """The original interface."""
    from claude_bottle.cli import cmd_start as start

    return start(argv)
