"""The conversation of a bottle, running, preserved or archived; nothing in it can move your cursor."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle transcript claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.conversation import as_text, turns

    found = turns(options.identity)
    if options.json:
        import json

        print(json.dumps({"identity": options.identity, "turns": found}, indent=2))
    else:
        print(as_text(found))
    return 0
