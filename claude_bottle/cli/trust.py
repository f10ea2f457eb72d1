"""Show what this project's manifest grants beyond your own, and consent to it. A later change asks again."""

from __future__ import annotations

import argparse

EXAMPLES = "claude-bottle trust"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: the project's claude-bottle.json")
    parser.add_argument("-y", "--yes", action="store_true", help="consent without being asked")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.trust import trust

    return trust(options.file, yes=options.yes)
