"""Reject what an agent asked for; it is told the reason and goes on without."""

from __future__ import annotations

import argparse

EXAMPLES = 'claude-bottle reject q-jnpk902t --reason "use the mirror on pypi.org"'


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="ID", help="as shown by claude-bottle requests")
    parser.add_argument("--reason", metavar="WHY", default="", help="what the agent is told")
    parser.add_argument("--hash", metavar="H", default="", help="refuse unless the request's hash begins with H (16+)")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.decide import reject

    return reject(options.request, options.reason, options.hash)
