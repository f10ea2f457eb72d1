"""Bring a bottle's commits into your repository, as the branch `bottle/IDENTITY`.

They are checked object by object first, in a repository made for that. Your working tree, your branches and your settings
stay as they are; nothing of the bottle's hooks or settings is used. What was not committed comes by `apply`.
"""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_identity, add_json

EXAMPLES = "claude-bottle pull claude-k3x9qa"


def configure(parser: argparse.ArgumentParser) -> None:
    add_identity(parser)
    parser.add_argument("--force", action="store_true", help="move a branch that holds something else")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.redact import printable
    from claude_bottle.workflow.work import pull

    done = pull(options.identity, force=options.force)
    if options.json:
        import json

        print(json.dumps(done, indent=2))
        return 0
    for ref, branch in done["branches"].items():
        print(f"{printable(ref.removeprefix('refs/heads/'))} → {branch}")
    count = done["commits"]
    branch = next(iter(done["branches"].values()))
    print(f"{count} new commit{'s' if count != 1 else ''}; look at them: git log -p ..{branch}")
    print(f"not carried over yet: {done['left']}" if done["left"] else "nothing is left in the bottle")
    return 0
