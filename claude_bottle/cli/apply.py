"""Put what a bottle changed into your directory. What you changed there meanwhile is merged; where both changed the same
place, your file stays as it is and the conflict is told.

What would run later on this machine (hooks, CI, package scripts, editor and agent settings, build files, …) needs `--allow`
with the name of its trigger, as `diff` shows it. Doing it twice changes nothing.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_include, add_json

EXAMPLES = """\
claude-bottle apply claude-k3x9qa --dry-run
claude-bottle apply claude-k3x9qa --include src --allow make"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_include(parser)
    parser.add_argument("--allow", metavar="TRIGGER", action="append", default=[], help="take what this trigger would run")
    parser.add_argument(
        "--conflicts", choices=("keep", "mark", "replace"), default="keep",
        help="keep your file (default), mark both sides in it, or replace it by the bottle's",
    )  # fmt: skip
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.cli import paging
    from claude_bottle.workflow.work import apply
    from claude_bottle.workspace.outcome_text import code, render

    done = apply(options.identity, globs=options.include, allow=options.allow, on_conflict=options.conflicts,
                 dry_run=options.dry_run)  # fmt: skip
    if options.json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
    else:
        paging.show(render(options.identity, done.review, done.outcomes, left=done.left, dry_run=done.dry_run))
    return code(done.outcomes)
