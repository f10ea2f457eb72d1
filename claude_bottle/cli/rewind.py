"""Take a bottle's files and conversation back to a checkpoint. What they were until now becomes a checkpoint itself. A bottle
that runs goes on from there in the same terminal; else `resume` does."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity

EXAMPLES = """\
claude-bottle rewind claude-k3x9qa
claude-bottle rewind claude-k3x9qa before-refactoring"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("checkpoint", nargs="?", default="", metavar="CHECKPOINT", help="the newest that you took if missing")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.checkpoints import rewind

    rewind(options.identity, options.checkpoint)
    return 0
