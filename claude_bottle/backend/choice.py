"""Which backend a bottle gets: what was asked for, and for "auto" the first that can run here.

"auto" is bubblewrap, which needs no daemon; docker where the bottle is made from an image, or where bubblewrap cannot
run. Whenever the answer is not the natural one, a warning for the plan says what was missing: nothing is replaced
silently, and what was named is never replaced.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend.registry import DEFAULT, TABLE, get_bottle_backend
from claude_bottle.errors import EnvironmentLacks

if TYPE_CHECKING:
    from claude_bottle.backend.base import Backend

AUTO, CONTAINERS = "auto", "docker"


class Choice(NamedTuple):
    """A backend, what the operator should know about how it was chosen ("" for nothing), and whether it is already
    known that it can run here."""

    backend: Backend
    warning: str = ""
    ready: bool = False


def foresee(asked: str | None) -> None:
    """Let a backend know that it is probably the one, before the manifest has been read; `asked` as for `choose`."""
    for name in (asked, os.environ.get("CLAUDE_BOTTLE_BACKEND")):
        if name and name != AUTO:
            if name in TABLE:
                get_bottle_backend(name).foresee()
            return


def choose(asked: str | None, manifest: str = AUTO, *, default: str | None = None, image: bool = False) -> Choice:
    """`asked` on the command line, else what the manifest names, else $CLAUDE_BOTTLE_BACKEND, else `default` (the
    operator's setting). `image`: the bottle is made from a container image. UsageError for an unknown name. Where
    "auto" finds nothing that can run, its first choice."""
    for name in (asked, manifest, os.environ.get("CLAUDE_BOTTLE_BACKEND"), default):
        if name and name != AUTO:
            return Choice(get_bottle_backend(name))
    first, second = (CONTAINERS, DEFAULT) if image else (DEFAULT, CONTAINERS)
    natural = get_bottle_backend(first)
    try:
        natural.require()
        return Choice(natural, ready=True)
    except EnvironmentLacks as lacks:
        other = get_bottle_backend(second)
        try:
            other.require()
        except EnvironmentLacks:
            return Choice(natural)  # whoever launches it will hear what it lacks
        loss = "; the bottle's image is not used" if image else ""
        why = f": {lacks.why}" if lacks.why else ""
        return Choice(other, f"{first} cannot be used here ({lacks.what}{why}), so this bottle runs on {second}{loss}",
                      ready=True)  # fmt: skip
