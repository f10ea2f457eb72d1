"""Print a completion script for your shell."""

from __future__ import annotations

import argparse

EXAMPLES = 'eval "$(claude-bottle completion bash)"'


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the language of the script")


def run(options: argparse.Namespace) -> int:
    import shtab

    from claude_bottle.cli import VERBS, load

    whole = argparse.ArgumentParser(prog="claude-bottle")
    verbs = whole.add_subparsers(parser_class=argparse.ArgumentParser)
    for verb, (_, summary) in VERBS.items():
        verbs.add_parser(verb, parents=[load(verb)[1]], add_help=False, help=summary)
    print(shtab.complete(whole, options.shell))
    return 0
