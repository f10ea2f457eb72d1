"""The images container bottles are made from, and layers: build the default image, list them, remove what no bottle needs.

`start` builds what it needs by itself, so this is for choosing the base, for building beforehand, and for tidying up."""

from __future__ import annotations

import argparse

from claude_bottle.cli.options import add_json

EXAMPLES = """\
claude-bottle image build
claude-bottle image build --base debian:13-slim
claude-bottle image ls
claude-bottle image prune
claude-bottle image ls --json"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("build", "ls", "prune"), help="what to do with them")
    parser.add_argument("--base", metavar="IMAGE", help="with build: make it, and later ones, from this image")
    parser.add_argument("--harness", default="claude", metavar="H", help="with build: the agent program it holds")
    parser.add_argument("--backend", metavar="B", help="whose images; the default is the first that has any")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    import json

    from claude_bottle.workflow import images

    if options.what == "build":
        name = images.build(options.backend, options.base, options.harness)
        print(json.dumps({"image": name}) if options.json else name)
    elif options.what == "ls":
        found = images.known(options.backend)
        if options.json:
            print(json.dumps(found, indent=2))
        for image in () if options.json else found:
            about = f"  {image['layer']}" if image.get("layer") else ""
            print(f"{image['name']:<42}{_amount(image['size']):>10}  {image['created']}{about}")
    else:
        gone = images.prune(options.backend)
        print(json.dumps(gone, indent=2) if options.json else "\n".join(gone) or "nothing to remove")
    return 0


def _amount(size: object) -> str:
    return f"{int(str(size)) / 1e6:.0f} MB"
