"""List the checkpoints of a bottle, oldest first."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle checkpoints claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.checkpoints import as_text, listing

    rows = listing(options.identity)
    if options.json:
        import json

        print(json.dumps({"checkpoints": rows}, indent=2))
    else:
        print(as_text(rows))
    return 0
