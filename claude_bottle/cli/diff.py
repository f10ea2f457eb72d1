"""What a bottle changed in its copy of your directory: what would run later on this machine first, then the rest, then the
patch.

Works on a preserved bottle, and on a running one whose files lie on this host. Whatever could act on your terminal is shown
as text; `--output` writes the patch as it is, for `git apply`.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_include, add_json

EXAMPLES = """\
claude-bottle diff claude-k3x9qa
claude-bottle diff claude-k3x9qa --stat --include 'src/*'
claude-bottle diff claude-k3x9qa --output work.patch"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("--stat", action="store_true", help="only the summary")
    parser.add_argument("-p", "--patch", action="store_true", help="only the patch (with --json: the patch, too)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the exact patch, binary files whole, to a new file")
    add_include(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.cli import paging
    from claude_bottle.workflow.work import diff
    from claude_bottle.workspace.review_text import patch_lines, render

    wanted = options.patch or bool(options.output) if options.json else not options.stat or options.patch
    seen = diff(options.identity, globs=options.include, patch=wanted, binary=bool(options.output))
    if options.output:
        from claude_bottle.cli.paging import write_new

        write_new(options.output, b"".join(seen.patches))
    if options.json:
        import json

        text = {"patch": b"".join(seen.patches).decode("utf-8", "surrogateescape")} if options.patch else {}
        print(json.dumps({**seen.review, **text}, indent=2))
        return 0
    lines = [] if options.patch and not options.stat else render(seen.review)
    if wanted and not options.output:
        for patch in seen.patches:
            lines += [*([("", None)] if lines else []), *patch_lines(patch)]
    paging.show(lines)
    return 0
