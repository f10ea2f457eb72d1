"""The Dockerfiles we write: from somebody's base image to one an agent can work in.

Two layers on top of the base. `tools`: what every agent needs (git, certificates, curl, ripgrep, Python), the bottle's
user and our init; it reaches the base's own package servers, and only when something is missing. `program`: the agent
program, copied in, no network. Pure text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from claude_bottle.backend.base import GID, UID, USER
from claude_bottle.errors import BottleError
from claude_bottle.patterns import regex

DEFAULT_BASE = "debian:stable-slim"
OURS = "/opt/claude-bottle"
INIT = f"{OURS}/init.py"
# What the context of `tools` holds, all of it beside this module.
PROGRAMS = ("init.py", "libc.py", "messages.py", "framing.py", "streams.py", "packing.py", "filling.py", "relay.py",
            "first_x86_64.bpf", "first_aarch64.bpf")  # fmt: skip
FILES = (*PROGRAMS, "prepare.sh")
_PLAIN = regex(r"/[\w./+@ -]+", re.ASCII)


def tools(base: str) -> str:
    """FROM `base` to an image in which a bottle can run. Its context holds FILES."""
    return _lines(
        f"FROM {base}",
        "USER 0",
        f"COPY prepare.sh {OURS}/",
        f"RUN chmod 0755 /opt {OURS} && sh {OURS}/prepare.sh {USER} {UID} {GID}",
        "WORKDIR /workspace",
        # Last, since it changes most often: an engine that has the layers above does not make them again.
        f"COPY {' '.join(PROGRAMS)} {OURS}/",
        # What the first process imports is compiled here, once; some images have come without any of it compiled.
        f"RUN chmod 0444 {OURS}/* && python3 -I -S -c 'import sys; sys.path.insert(0, \"{OURS}\"); import relay'",
    )


def program(parent: str, targets: Mapping[str, str]) -> str:
    """FROM `parent` to an image with an agent program. `targets`: name in the context → path in the image. BottleError for
    a path in which an engine would replace anything."""
    for place in targets.values():
        if not _PLAIN.fullmatch(place):
            raise BottleError(f"an agent program cannot lie at {place!r}", why="not a plain absolute path")
    return _lines(f"FROM {parent}", *(f"COPY {json.dumps([name, target])}" for name, target in targets.items()))


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
