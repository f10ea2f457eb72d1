"""A granted capability, made real: one more layer on the image that a bottle runs on.

The change is a fragment of a Dockerfile, of which only steps and variables are taken: no other base, no file of this
host, no fetching by the engine, no secret. It becomes one more recipe, named by its content like every image, so the same
grant is built once. Whatever fails, the running bottle has not been touched: it keeps the image it was started from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.backend.docker import images
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.backend.docker.recipe import Recipe
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.model.capability import check_fragment
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.images import Progress


def layer(image: str, fragment: str, *, network: bool = False) -> Recipe:
    """The recipe of `fragment` on top of `image`. `network`: its steps reach what the engine reaches, else nothing. Pure.
    Refused for a fragment that is more than steps and variables."""
    check_fragment(fragment)
    return Recipe("layer", check_image(image), f"FROM {image}\nUSER 0\n{fragment.rstrip()}\n", (), network)


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
