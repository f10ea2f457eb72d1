"""Check this directory's manifest (every problem at once), or print the manifest's JSON Schema.

With diff and merge, and a bottle's identity: what was granted to it for its agent, as a change to the manifest file; shown,
and with merge written once you say yes. Everything else in the file stays as it is, byte for byte.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json

EXAMPLES = """\
claude-bottle manifest check
claude-bottle manifest schema > claude-bottle.schema.json
claude-bottle manifest merge reviewer-p02mfe"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("check", "schema", "diff", "merge"), help="what to do with it")
    parser.add_argument("of", nargs="?", metavar="FILE|IDENTITY", help="check: this file alone; diff, merge: the bottle")
    parser.add_argument("--grant", metavar="G", action="append", default=[], help="only this grant, of any scope; repeatable")
    parser.add_argument("-y", "--yes", action="store_true", help="merge without asking")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    import json

    from claude_bottle.workflow import manifests

    if options.what == "schema":
        print(json.dumps(manifests.schema(), indent=2))
        return 0
    if options.what in ("diff", "merge"):
        return _grants(options)
    found = manifests.check(options.of)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for line in found["lines"]:
        print(line)
    return 0


def _grants(options: argparse.Namespace) -> int:
    from claude_bottle.errors import UsageError
    from claude_bottle.workflow.merging import propose, show_and_merge

    if options.of is None:
        raise UsageError("whose grants?", do=f"claude-bottle manifest {options.what} IDENTITY")
    if options.what == "merge":
        return show_and_merge(options.of, options.grant, yes=options.yes)
    proposal = propose(options.of, options.grant)
    if options.json:
        import json

        patches = [{"path": str(one.path), "diff": one.diff, "sha256": one.sha256} for one in proposal.patches]
        print(json.dumps({"identity": options.of, "patches": patches}, indent=2))
    elif proposal.patches:
        print("\n".join(proposal.diff))
    return 0
