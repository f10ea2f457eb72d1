"""Check this directory's manifest (every problem at once), or print the manifest's JSON Schema."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json

EXAMPLES = """\
claude-bottle manifest check
claude-bottle manifest schema > claude-bottle.schema.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("check", "schema"), help="what to do with it")
    parser.add_argument("file", nargs="?", metavar="FILE", help="with check: this file alone")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    import json

    from claude_bottle.workflow import manifests

    if options.what == "schema":
        print(json.dumps(manifests.schema(), indent=2))
        return 0
    found = manifests.check(options.file)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for line in found["lines"]:
        print(line)
    return 0
