"""What the agents of all running bottles ask for: each request whole, with what the bottle could reach after it."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json

EXAMPLES = """\
claude-bottle requests
claude-bottle requests --json claude-k3x9qa"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identity", metavar="IDENTITY", nargs="?", help="only of this bottle")
    parser.add_argument("-a", "--all", action="store_true", help="those that are decided, too")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle import log
    from claude_bottle.state.paths import Paths
    from claude_bottle.workflow.asked import asked

    found = asked(Paths.default(), options.identity, everything=options.all)
    views = [view for one in found for view in one.requests if options.all or view["state"] in ("submitted", "approved")]
    silent = [one for one in found if one.problem]
    if options.json:
        import json

        problems = [{"identity": one.identity, "what": one.problem.what} for one in silent if one.problem]
        print(json.dumps({"requests": views, "problems": problems}, indent=2))
        return 0
    for one in silent:
        if one.problem:
            log.warn(one.problem.what)
    if not views:
        print("nobody asks for anything")
        return 0
    from claude_bottle.workflow.asked_text import request_text

    print("\n\n".join(request_text(view) for view in views))
    if any(view["state"] == "submitted" for view in views):
        print("\nclaude-bottle approve ID, or claude-bottle reject ID --reason WHY")
    return 0
