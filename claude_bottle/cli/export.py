"""Copy a bottle's files into a directory that does not exist yet: plain files, nothing of git's own, no link that leads out.

What would run later on this machine is listed first; nothing of it is run or opened here.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle export claude-k3x9qa ~/look-at-it"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("directory", metavar="DIR", help="where to; it must not exist")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.cli import paging
    from claude_bottle.redact import printable
    from claude_bottle.workflow.work import export

    done = export(options.identity, options.directory)
    if options.json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
        return 0
    lines: list[tuple[str, str | None]] = []
    if done.triggers:
        lines.append(("changed, and would run later on this machine", "yellow"))
        for name, entries in done.triggers.items():
            lines += [(f"  {name:<14}{printable(entry['path'])}  {printable(entry['why'])}", None) for entry in entries]
    lines += [(f"left out: {printable(note)}", "yellow") for note in done.notes]
    lines.append((f"{done.files} files, {done.size} bytes in {printable(str(done.directory))}", None))
    lines.append((f"not carried over yet: {done.left}" if done.left else "nothing is left in the bottle", None))
    paging.show(lines)
    return 0
