"""The images container bottles are made from: make the default one, list ours, remove those no bottle needs."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.backend.base import Backend, Images
from claude_bottle.backend.choice import choose
from claude_bottle.backend.registry import TABLE, get_bottle_backend
from claude_bottle.errors import BottleError
from claude_bottle.harness.progress import ProgressLine
from claude_bottle.state.files import read_json
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.workflow import programs

_PLAN_LIMIT = 4 << 20


def build(backend: str | None, base: str | None, harness: str) -> str:
    """Make the default image for a harness, from `base` if one is named; its name."""
    images = _of(backend)
    paths = Paths.default()
    program = programs.ensure(harness, paths)
    with ProgressLine() as progress:
        return images.build(base, program if program.mounts else None, progress)


def known(backend: str | None) -> list[dict[str, object]]:
    return _of(backend).list()


def prune(backend: str | None) -> list[str]:
    """Remove the images that no kept bottle was planned with; the names that went."""
    images, wanted, gone = _of(backend), _wanted(Paths.default()), []
    for image in images.list():
        name = str(image["name"])
        if name not in wanted and images.remove(name):
            gone.append(name)
    return gone


def prune_layers() -> list[str]:
    """Remove the layers on this host that no kept bottle's plan names; the names that went. Images stay: making one again
    takes an engine minutes."""
    gone: list[str] = []
    wanted = _wanted(Paths.default())
    for name in sorted(TABLE):
        images = get_bottle_backend(name).images()
        if images is not None and images.layers_only:
            unused = [str(one["name"]) for one in images.list() if one["name"] not in wanted]
            gone += [layer for layer in unused if images.remove(layer)]
    return gone


def _of(backend: str | None) -> Images:
    chosen: Backend = choose(backend, image=True).backend
    images = chosen.images()
    if images is None:
        able = [name for name in sorted(TABLE) if get_bottle_backend(name).images() is not None]
        raise BottleError(f"{chosen.name} makes no bottle from an image", do=f"--backend {' or '.join(able)}")
    chosen.require()
    return images


def _wanted(paths: Paths) -> set[str]:
    """Every image a kept bottle's plan names, and what those are made from."""
    wanted: set[str] = set()
    for identity in Store(paths).identities():
        try:
            plan = read_json(paths.plan(identity), _PLAN_LIMIT)
        except (OSError, BottleError) as problem:
            log.warn(f"{identity}: its plan cannot be read ({problem}), so it is not known which image it needs")
            continue
        wanted.add(str(plan.get("image")))
        for key, name in (("image_build", "tag"), ("layers", "name")):
            steps = plan.get(key)
            wanted |= {str(step.get(name)) for step in steps if isinstance(step, dict)} if isinstance(steps, list) else set()
    return wanted
