"""Write a starter claude-bottle.json in this directory, with the agents `claude` and `shell`."""

from __future__ import annotations

import argparse

EXAMPLES = "claude-bottle init && claude-bottle start claude"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.manifests import init

    path = init(force=options.force)
    print(f"wrote {path}")
    print("next: claude-bottle start claude   (docs/manifest.md explains every key)")
    return 0
