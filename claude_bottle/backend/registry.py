"""The table of backends: adding one is one line here and its package.

A backend's module is imported only when it is chosen, so listing and resuming need none. An unknown name
is an error that lists the known ones.
"""

from __future__ import annotations

import importlib
import os

from claude_bottle.backend.base import Backend
from claude_bottle.errors import UsageError

TABLE = {
    "bubblewrap": "claude_bottle.backend.bubblewrap.backend:BubblewrapBackend",
    "docker": "claude_bottle.backend.docker.backend:DockerBackend",
    "podman": "claude_bottle.backend.docker.podman:PodmanBackend",
}
DEFAULT = "bubblewrap"


def get_bottle_backend(name: str | None = None) -> Backend:
    """The backend called `name`; None or "auto": $CLAUDE_BOTTLE_BACKEND, else the default. UsageError if
    unknown."""
    chosen = name if name not in (None, "", "auto") else os.environ.get("CLAUDE_BOTTLE_BACKEND") or DEFAULT
    place = TABLE.get(chosen or DEFAULT)
    if place is None:
        raise UsageError(f"no backend is called {chosen!r}", do=f"use one of: {', '.join(sorted(TABLE))}")
    module, _, cls = place.partition(":")
    backend = getattr(importlib.import_module(module), cls)()
    if not isinstance(backend, Backend):
        raise TypeError(f"{place} is not a Backend")
    return backend
