"""The main job with no account and no API key: real Claude Code, in a real bottle, against a scripted model.

It makes a throw-away project, lets the agent show what it can and cannot do, and then the session is yours.
"""

from __future__ import annotations

import argparse

EXAMPLES = """\
claude-bottle demo
claude-bottle demo --yes      (no terminal needed: prints the tour and ends)"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="only print the tour")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.demo import demo

    return demo(only_tour=options.yes)
