"""A granted capability, made real: one more layer on the image that a bottle runs on.

The change is a fragment of a Dockerfile, of which only steps and variables are taken: no other base, no file of this
host, no fetching by the engine, no secret. It becomes one more recipe, named by its content like every image, so the same
grant is built once. Whatever fails, the running bottle has not been touched: it keeps the image it was started from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.backend.docker import images
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.backend.docker.recipe import Recipe, instructions
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.images import Progress

MAX_BYTES = 64 << 10
_TAKEN = ("RUN", "ENV")


def layer(image: str, fragment: str, *, network: bool = False) -> Recipe:
    """The recipe of `fragment` on top of `image`. `network`: its steps reach what the engine reaches, else nothing. Pure.
    Refused for a fragment that is more than steps and variables."""
    check_fragment(fragment)
    return Recipe("layer", check_image(image), f"FROM {image}\nUSER 0\n{fragment.rstrip()}\n", (), network)


def check_fragment(fragment: str) -> None:
    """Refused, saying what is not taken, for anything but plain RUN and ENV. What engines of different age read
    differently (here-documents, a line that ends with two backslashes) is not taken at all."""
    if len(fragment.encode("utf-8", "replace")) > MAX_BYTES:
        raise _refused(f"it is larger than {MAX_BYTES >> 10} KiB")
    if any(char != "\n" and char != "\t" and not char.isprintable() for char in fragment):
        raise _refused("it holds control characters")
    steps = instructions(fragment)
    if not steps:
        raise _refused("it holds no step")
    for name, *words in steps:
        if name not in _TAKEN:
            raise _refused(f"{name} is not taken")
        if words and words[0].startswith("--"):
            raise _refused(f"{name} takes no option: {words[0]}")
    if "<<" in fragment or any(line.rstrip().endswith("\\\\") for line in fragment.split("\n")):
        raise _refused("here-documents and lines that end with two backslashes are not taken")


def apply_capability(engine: Engine, image: str, fragment: str, progress: Progress, *, network: bool = False) -> str:
    """The tag of an image that is `image` (the one a bottle's plan names) with `fragment` applied, built if it is not
    there. Refused as from `layer`; EnvironmentLacks when the bottle's image is gone (an engine would look for one of that
    name elsewhere); BottleError with the end of what the build said."""
    recipe = layer(image, fragment, network=network)
    if not images.exists(engine, image):
        raise EnvironmentLacks("the image to build on is missing", why=image, do="claude-bottle resume builds it again")
    paths = Paths.default()
    paths.ensure_root()
    images.build(engine, (recipe,), paths.root, progress)
    return recipe.tag


def _refused(why: str) -> BottleError:
    return Refused("this is no capability that can be built", why=why,
                   do="say it in RUN and ENV, each on lines of its own")  # fmt: skip
