"""Keep a bottle's files and conversation as they are now, whether it runs or not. `rewind` goes back to it, `fork` goes on
from it in another bottle. What did not change since the last one takes no room."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle checkpoint claude-k3x9qa before-refactoring"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="what to call it; c1, c2, … if missing")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle import log
    from claude_bottle.workflow.checkpoints import checkpoint

    made = checkpoint(options.identity, options.name)
    if options.json:
        import json

        print(json.dumps({**made.to_dict(), "identity": options.identity}, indent=2))
    else:
        log.say(f"checkpoint {made.name} of {options.identity}")
    return 0
