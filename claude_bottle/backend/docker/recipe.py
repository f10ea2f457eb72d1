"""What an image is made of: a chain of recipes, each named by what goes into it.

The operator's own Dockerfile if the manifest names one, `tools` on top of it, the agent program on top of that. A recipe's
tag is the hash of its text, its files and its parent's tag, so a tag that exists is never built again, and an image can be
planned without asking the engine. Reads files, writes nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend.docker import dockerfile
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.model.capability import instructions
from claude_bottle.patterns import regex

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Image

REPOSITORY = "claude-bottle"
# Bumped when what an image must hold changes in a way no text or file of a recipe shows.
VERSION = 1
_REMOTE = regex(r"://|git@|\$|^github\.com/|\.git\b")


class File(NamedTuple):
    """One entry of a build context: its name there, where it lies on the host, what stands for its content."""

    name: str
    source: str
    identity: str


class Recipe(NamedTuple):
    """One `docker build`. `network`: its steps reach what the engine reaches, else nothing. `digest` is its whole
    content, of which `tag` shows a part. `directory`: where an own context lies, which is copied and checked again."""

    kind: str
    parent: str
    text: str
    files: tuple[File, ...]
    network: bool
    directory: Path | None = None

    @property
    def digest(self) -> str:
        said = [VERSION, self.kind, self.parent, self.text, [(file.name, file.identity) for file in self.files], self.network]
        return sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()

    @property
    def tag(self) -> str:
        return f"{REPOSITORY}/{self.kind}:{self.digest[:16]}"

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "tag": self.tag, "from": self.parent, "files": len(self.files),
                "network": "engine" if self.network else "none"}  # fmt: skip


def chain(
    base: str, *, own: Image | None = None, program: Mapping[str, str] | None = None, version: str = "",
) -> tuple[Recipe, ...]:
    """The recipes of an agent's image, the last one being it. `own` names the operator's Dockerfile, which stands for
    `base`; `program` maps host paths of the agent program to its places in the image, `version` names its bytes.
    BottleError for a Dockerfile or context that cannot be read or is not the one the manifest was loaded with."""
    recipes = [] if own is None else [_own(own)]
    parent = recipes[-1].tag if recipes else check_image(base)
    recipes.append(Recipe("tools", parent, dockerfile.tools(parent), _ours(), True))
    if program:
        recipes.append(_program(recipes[-1].tag, program, version))
    return tuple(recipes)


@cache
def _ours() -> tuple[File, ...]:
    here = Path(__file__).parent
    return tuple(File(name, str(here / name), _content(here / name)) for name in dockerfile.FILES)


def _program(parent: str, program: Mapping[str, str], version: str) -> Recipe:
    files, targets = [], {}
    for index, (source, target) in enumerate(sorted(program.items())):
        name = f"program-{index}"
        # Hashing hundreds of megabytes at every start would cost more than the start: its bytes were checked when it
        # was installed, and version, size and time tell an exchanged file from the same one.
        found = os.stat(source)
        files.append(File(name, source, f"{version} {found.st_size} {found.st_mtime_ns} {found.st_mode:o}"))
        targets[name] = target
    return Recipe("agent", parent, dockerfile.program(parent, targets), tuple(files), False)


def _own(image: Image) -> Recipe:
    """The operator's Dockerfile with its directory as context, as `docker build` takes it."""
    from claude_bottle.backend.docker import context
    from claude_bottle.manifest.image import dockerfile as read_dockerfile

    data = read_dockerfile(image.directory, image.dockerfile)
    path = image.directory / image.dockerfile
    if sha256(data).hexdigest() != image.sha256:
        raise BottleError(f"{path} is not what it was when the manifest was read", do="look at it, and start again")
    text = data.decode("utf-8")
    steps = instructions(text)
    if not image.network and any(words[0] == "ADD" and _REMOTE.search(" ".join(words[1:])) for words in steps):
        raise BottleError(f"{path} fetches something, and its steps may not", why="ADD of what is no plain file name",
                          do='COPY a file that is there, or say "network": true beside "dockerfile"')  # fmt: skip
    directory = Path(os.path.realpath(path.parent))
    try:
        files = context.read(directory) if any(map(_takes, steps)) else ()
    except (OSError, UnicodeError) as problem:
        raise BottleError(f"cannot use {directory} as a build context", why=str(problem)) from problem
    return Recipe("own", "", text, files, image.network, directory)


def _takes(words: list[str]) -> bool:
    """Whether an instruction takes anything from its context; a Dockerfile where none does gets an empty one."""
    flags = list(takewhile(lambda word: word.startswith("--"), words[1:]))
    if words[0] == "RUN":
        # Without a type it is a bind of the context.
        return any(flag.startswith("--mount=") and not re.search(r"from=|type=(?!bind)", flag) for flag in flags)
    return words[0] in ("COPY", "ADD") and not any(flag.startswith("--from") for flag in flags)


def _content(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
