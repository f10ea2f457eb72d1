"""What a bottle's agent does, as it happens: files changed, commands run, hosts reached or refused.

Commands and tools are the agent's own account, hosts the gate's. With --json, one document a line.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.colour import paint
from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle watch reviewer-p02mfe"
_COLOURS = {"refused": "red", "host": "green", "file": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.watching import watch

    if options.json:
        import json

    for one in watch(options.identity):
        print(json.dumps(one._asdict()) if options.json else paint(one.line, _COLOURS.get(one.what)), flush=True)
    return 0
