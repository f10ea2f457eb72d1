"""Remove preserved state and anything left over. Conversations stay archived; running bottles are refused.

Without arguments: what ended longer ago than `retention_days` of config.json.
"""

from __future__ import annotations

import argparse

EXAMPLES = """\
claude-bottle cleanup claude-k3x9qa
claude-bottle cleanup --all --older-than 30d"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identities", metavar="IDENTITY", nargs="*", help="as shown by ls --all")
    parser.add_argument("-a", "--all", action="store_true", help="everything that is not running")
    parser.add_argument("--older-than", metavar="AGE", help="only what ended longer ago: 12h, 30d")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.cleanup import cleanup

    return cleanup(options.identities, everything=options.all, older_than=options.older_than, yes=options.yes)
