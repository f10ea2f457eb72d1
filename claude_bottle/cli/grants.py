"""What was granted beyond the manifests: in running bottles, and what kept ones resume with."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json

EXAMPLES = "claude-bottle grants"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identity", metavar="IDENTITY", nargs="?", help="only of this bottle")
    parser.add_argument("-a", "--all", action="store_true", help="those that have ended, too")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.state.paths import Paths
    from claude_bottle.workflow.granted import granted

    found = granted(Paths.default(), options.identity, everything=options.all)
    if options.json:
        import json

        print(json.dumps({"grants": [{"identity": identity, **view} for identity, view in found]}, indent=2))
        return 0
    from claude_bottle.workflow.asked_text import grant_text

    print("\n\n".join(grant_text(identity, view) for identity, view in found) or "nothing was granted beyond the manifests")
    return 0
