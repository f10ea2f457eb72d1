"""What happened to a bottle, as its keeper wrote it down.

With --follow, --json prints one document a line.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.colour import paint
from claude_bottle.cli.options import add_identity, add_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

EXAMPLES = "claude-bottle log claude-k3x9qa --follow"


def add_reading(parser: argparse.ArgumentParser) -> None:
    """What `log` and `egress` have in common."""
    add_identity(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more until the bottle ends")
    add_json(parser)


def configure(parser: argparse.ArgumentParser) -> None:
    add_reading(parser)
    parser.add_argument("--verify", action="store_true", help="check that nothing was changed or cut off")


def run(options: argparse.Namespace) -> int:
    return _verify(options) if options.verify else show(options)


def show(options: argparse.Namespace, kinds: frozenset[str] | None = None) -> int:
    """Print the entries, of `kinds` only if given."""
    import json

    from claude_bottle.workflow.journals import entries, render

    found = entries(options.identity, follow=options.follow, kinds=kinds)
    if options.json and not options.follow:
        print(json.dumps({"identity": options.identity, "entries": list(found)}, indent=2))
        return 0
    for event in found:
        line = json.dumps(event) if options.json else paint(render(event), _colour(event))
        print(line, flush=options.follow)
    return 0


def _verify(options: argparse.Namespace) -> int:
    import json

    from claude_bottle.workflow.journals import verified

    found = verified(options.identity)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for problem in found["problems"]:
            print(paint(problem, "red"))
        print(f"{found['events']} events, {'as they were written' if found['ok'] else 'not as they were written'}")
    return 0 if found["ok"] else 1


def _colour(event: Mapping[str, Any]) -> str | None:
    refused = event["kind"] == "decision" and not event["data"].get("allow")
    return "red" if refused or event["kind"] in ("fault", "damaged") else None
