"""End a running bottle: ask its agent to end, then make it. Its state is preserved and can be resumed."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity

EXAMPLES = "claude-bottle stop claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser, running=True)
    parser.add_argument("--keep", action="store_true", help="preserve the state even if it ends with 0")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds until it is killed (10)")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return value


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.stop import stop

    return stop(options.identity, keep=options.keep, timeout=options.timeout)
