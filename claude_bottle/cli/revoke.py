"""Take a grant back: at once, and whatever goes on by it is cut. A bottle that does not run resumes without it."""

from __future__ import annotations

import argparse

EXAMPLES = "claude-bottle revoke g-bxvgb8zg"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grant", metavar="GRANT", help="as shown by claude-bottle grants")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.decide import revoke

    return revoke(options.grant)
