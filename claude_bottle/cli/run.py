"""Run an agent without a terminal: stdin, stdout and stderr pass through, the exit code is the agent's."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json, add_launch

TAIL = "[-- ARGS]"
EXAMPLES = """\
claude-bottle run claude -- -p "fix the failing test"
claude-bottle run shell -- make check"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="an agent of the manifest; ARGS go to it")
    add_launch(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.start import Options, run_headless

    return run_headless(
        Options(
            name=options.name,
            args=tuple(options.passed or ()),
            copy_cwd=options.cwd,
            backend=options.backend,
            yes=True,
            keep=options.keep,
            approvals=options.approvals,
        ),
        json_result=options.json,
    )
