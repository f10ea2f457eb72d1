"""The image of a gate that runs in a container: the agent images' own base, Python's cryptography, and our code.

Two recipes. `python` reaches the base's package servers, and only when something is missing; `gate` adds the few packages
of ours that a gate is made of, and h11, from the very files that run here. Named by content like every image of ours.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import claude_bottle
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.backend.docker.gate_container import GATE_GID, GATE_UID, PLACE
from claude_bottle.backend.docker.images import chosen_base
from claude_bottle.backend.docker.recipe import File, Recipe
from claude_bottle.errors import EnvironmentLacks

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

# Below the package: nothing that knows this host.
_OURS = ("gate", "model")
_PREPARE = "gate_prepare.sh"
# In a context all files lie beside each other; this stands between the parts of a path.
_APART = "+"
_UNPACK = rf"""RUN cd {PLACE} \
    && for flat in *{_APART}*; do \
        deep=$(echo "$flat" | tr {_APART} /) && mkdir -p "$(dirname "$deep")" && mv "$flat" "$deep" || exit 1; \
    done \
    && echo 'from claude_bottle.gate.remote import main; main()' >__main__.py \
    && python3 -m compileall -q . && chmod -R a=rX ."""


def recipes(base: str) -> tuple[Recipe, ...]:
    """The recipes of a gate's image, the last one being it."""
    script = Path(__file__).with_name(_PREPARE)
    user = f"{GATE_UID} {GATE_GID}"
    python = [f"FROM {check_image(base)}", "USER 0", f"COPY {_PREPARE} {PLACE}/", f"RUN sh {PLACE}/{_PREPARE} {user}"]
    first = Recipe("python", base, _text(python), (_file(_PREPARE, script),), True)
    files = tuple(_file(name.replace("/", _APART), path) for name, path in sorted(_sources()))
    return first, Recipe("gate", first.tag, _text([f"FROM {first.tag}", f"COPY . {PLACE}/", _UNPACK]), files, False)


def beside(agent: Sequence[Recipe], paths: Paths) -> tuple[Recipe, ...]:
    """The recipes of the gate beside a bottle made by those of `agent`: from the same base, or from the usual one where
    the operator's own Dockerfile stands for that."""
    return recipes(agent[0].parent if agent[0].kind == "tools" else chosen_base(paths))


def _sources() -> Iterator[tuple[str, Path]]:
    """(name, path) of every file of the code."""
    root = Path(claude_bottle.__file__).parent
    found = [*root.glob("*.py"), *(path for package in _OURS for path in (root / package).rglob("*.py"))]
    yield from ((f"claude_bottle/{path.relative_to(root)}", path) for path in found if path.name != "__main__.py")
    spec = importlib.util.find_spec("h11")
    if spec is None or not spec.origin:
        raise EnvironmentLacks("the package h11 is missing", do="pip install h11")
    yield from ((f"h11/{path.name}", path) for path in Path(spec.origin).parent.glob("*.py"))


def _file(name: str, path: Path) -> File:
    return File(name, str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
