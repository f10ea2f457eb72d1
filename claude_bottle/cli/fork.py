"""Start a new bottle with the files and the conversation of another one, as they are now or were at a checkpoint. Both go on
independently; the agent, its grants and the backend may be others."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_confirmed_launch, launch_options

TAIL = "[-- ARGS]"
EXAMPLES = """\
claude-bottle fork claude claude-k3x9qa
claude-bottle fork reviewer claude-k3x9qa@before-refactoring"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="an agent of the manifest")
    parser.add_argument("origin", metavar="FROM[@CHECKPOINT]", help="as shown by claude-bottle ls --all, and checkpoints")
    add_confirmed_launch(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.fork import fork

    return fork(options.origin, launch_options(options, name=options.name))
