"""The images bottles are made from: built when they are missing, listed, removed.

What goes into one is `recipe`'s business; here is only the engine. An image whose label tells another content than its
name is refused. May touch: the engine's images, a temporary build context below the state root.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import harness as harnesses
from claude_bottle import proc
from claude_bottle.backend.base import Images
from claude_bottle.backend.docker import dockerfile
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.backend.docker.engine import image_path
from claude_bottle.backend.docker.recipe import REPOSITORY, Recipe, chain
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.patterns import regex
from claude_bottle.redact import printable
from claude_bottle.state.files import read_json, write_atomic
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from claude_bottle.backend.base import BottleSpec
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.harness.base import Program

LABEL = "claude-bottle.recipe"
_CHOICE = "image.json"
_OURS = regex(rf"{REPOSITORY}/[a-z]+:[0-9a-f]{{16}}")
# What a client says when it has no other builder than the one we then ask for.
_NOISE = ("legacy builder is deprecated", "BuildKit is currently disabled", "environment-variable.", "buildx component")
# In which the engine's older builder tells what a step says on stderr, to whoever asks.
_COLOUR = regex(r"\x1b\[[0-9;]*m")
_SHOWN_LINES, _SHOWN_WIDTH = 12, 300

Progress = Callable[[str], None]


def missing(engine: Engine, recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The recipes that must still be built for the last one. One call of the engine when nothing is missing.
    BottleError when a tag holds something else than its name says."""
    wanted: list[Recipe] = []
    for recipe in reversed(recipes):
        digest = _digest_of(engine, recipe.tag)
        if digest == recipe.digest:
            break
        if digest is not None:
            raise BottleError(f"the image {recipe.tag} is not what its name says", why="its label tells another content",
                              do=f"remove it: docker image rm {recipe.tag}")  # fmt: skip
        wanted.insert(0, recipe)
    return tuple(wanted)


def foresee(engine: Engine, recipes: Sequence[Recipe]) -> None:
    """Ask what `missing` will ask first, without waiting."""
    engine.ask_ahead(image_path(recipes[-1].tag))


def exists(engine: Engine, name: str) -> bool:
    """Whether the engine has an image of this name, ours or not."""
    return _digest_of(engine, check_image(name)) is not None


def _digest_of(engine: Engine, tag: str) -> str | None:
    """What an image says it was made from; None when there is no such image."""
    asked = engine.ask("GET", image_path(tag))
    if asked is not None and asked[0] == 404:
        return None
    if asked is not None and asked[0] == 200 and isinstance(asked[1], dict):
        return str(((asked[1].get("Config") or {}).get("Labels") or {}).get(LABEL, ""))
    wanted = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    done = engine.run(["image", "inspect", f"--format={wanted}", "--", tag], check=False)
    if done.code == 0:
        return done.out.decode(errors="replace").strip()
    if b"no such image" in done.err.lower() or b"image not known" in done.err.lower():
        return None
    raise engine.failure(done.err)


def build(engine: Engine, recipes: Sequence[Recipe], place: Path, progress: Progress) -> None:
    """Build what is missing, telling each step. `place`: where the temporary contexts are made, best on the file system
    of the agent programs. BottleError with the end of what the build said."""
    wanted = missing(engine, recipes)
    if not wanted:
        return  # as at nearly every start: what is imported below takes 5 ms
    import tempfile

    for recipe in wanted:
        with tempfile.TemporaryDirectory(prefix="build-", dir=place) as directory:
            _fill(Path(directory), recipe)
            filled, text = Path(directory, "context"), Path(directory, "Dockerfile")
            # A line of a terminal has room for little before what the build itself says.
            progress(f"building image {recipe.kind}: {recipe.tag} from {recipe.parent or 'your Dockerfile'}")
            # --force-rm: the engine keeps no container of a step that fails.
            words = ["build", "--force-rm", f"--label={LABEL}={recipe.digest}", f"--tag={recipe.tag}",
                     f"--network={'default' if recipe.network else 'none'}", f"--file={text}", "--", str(filled)]  # fmt: skip
            _run(engine, words, partial(_tell, progress, recipe.kind))


def _tell(progress: Progress, kind: str, line: str) -> None:
    progress(f"building image {kind}: {line}")


def _run(engine: Engine, words: list[str], told: Progress) -> None:
    """A build to its end, however it ends: with us, the client and what it builds end too."""
    classic = {} if engine.run(["buildx", "version"], check=False).code == 0 else {"DOCKER_BUILDKIT": "0"}
    client = engine.popen(words, more_env=classic, stdin=proc.DEVNULL, stdout=proc.PIPE, stderr=proc.STDOUT)
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    try:
        for raw in client.stdout or ():
            line = printable(_COLOUR.sub("", raw.decode(errors="replace")).rstrip(), width=_SHOWN_WIDTH)
            if line and not any(words in line for words in _NOISE):
                last.append(line)
                told(line)
        if client.wait() != 0:
            lacks = engine.failure("\n".join(last).encode())
            if isinstance(lacks, EnvironmentLacks):
                raise lacks
            raise BottleError("the image could not be built", why="\n".join(last),
                              do="correct the Dockerfile, or what it needs, and start again")  # fmt: skip
    finally:
        client.kill()
        client.wait()


def _fill(directory: Path, recipe: Recipe) -> None:
    """The context as a directory of its own, so that a build sees these files and no others; the Dockerfile beside it,
    since the context may have one that is not meant."""
    (directory / "Dockerfile").write_text(recipe.text, encoding="utf-8", newline="")
    place = directory / "context"
    place.mkdir()
    if recipe.directory:
        from claude_bottle.backend.docker import context

        context.copy(recipe.directory, recipe.files, place)
        return
    for file in recipe.files:
        try:
            os.link(file.source, place / file.name)
        except OSError:
            import shutil

            shutil.copy2(file.source, place / file.name)


def chosen_base(paths: Paths) -> str:
    """The image default images are made from: the one `image build --base` named last."""
    try:
        said = read_json(paths.root / _CHOICE, 1 << 16).get("base")
    except FileNotFoundError:
        return dockerfile.DEFAULT_BASE
    if not isinstance(said, str):
        raise BottleError(f"{paths.root / _CHOICE} is damaged", do="remove it, then: claude-bottle image build --base IMAGE")
    return check_image(said)


def recipes_for(spec: BottleSpec, paths: Paths) -> tuple[Recipe, ...]:
    """The recipes of the image that the agent of `spec` runs in. An agent program that is not installed yet counts as
    none, so that the plan can be shown; the launch plans again once it is there."""
    agent = spec.manifest.agent(spec.agent_name)
    image = spec.manifest.bottles[agent.bottle].image
    program = harnesses.get(agent.harness).find(paths)
    base = image.base if image and image.base else chosen_base(paths)
    return chain(
        base, own=image if image and image.dockerfile else None, program=dict(program.mounts) if program else None,
        version=program.version if program else "",
    )  # fmt: skip


class EngineImages(Images):
    """See `Images`. Everything of ours has LABEL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def build(self, base: str | None, program: Program | None, progress: Progress) -> str:
        paths = Paths.default()
        paths.ensure_root()
        wanted = check_image(base) if base else chosen_base(paths)
        recipes = chain(wanted, program=dict(program.mounts) if program else None, version=program.version if program else "")
        build(self._engine, recipes, paths.root, progress)
        if base:
            write_atomic(paths.root / _CHOICE, json.dumps({"base": base}).encode())
        return recipes[-1].tag

    def list(self) -> list[dict[str, object]]:
        """LABEL alone does not make one ours: whatever is built from ours inherits it."""
        words = ["image", "ls", "--no-trunc", f"--filter=label={LABEL}",
                 "--format={{.ID}} {{.Repository}}:{{.Tag}} {{.CreatedSince}}"]  # fmt: skip
        found: list[dict[str, object]] = []
        for line in self._engine.run(words).out.decode(errors="replace").splitlines():
            number, _, rest = line.partition(" ")
            name, _, created = rest.removeprefix("localhost/").partition(" ")
            if _OURS.fullmatch(name):
                found.append({"name": name, "id": number, "created": printable(created)})
        sizes = self._sizes([str(image["id"]) for image in found])
        return [{**image, "size": sizes.get(str(image["id"]), 0)} for image in found]

    def _sizes(self, ids: Sequence[str]) -> dict[str, int]:
        """Bytes, by id; without those that have gone meanwhile."""
        if not ids:
            return {}
        # One engine says the algorithm, the other does not.
        words = ["image", "inspect", "--format=sha256:{{.ID}} {{.Size}}", "--", *ids]
        lines = self._engine.run(words, check=False).out.decode(errors="replace").splitlines()
        said = (line.replace("sha256:sha256:", "sha256:").partition(" ") for line in lines)
        return {name: int(size) for name, _, size in said if size.isdigit()}

    def remove(self, name: str) -> bool:
        done = self._engine.run(["image", "rm", "--", check_image(name)], check=False)
        said = done.err.lower()
        if done.code and not any(words in said for words in (b"conflict", b"in use", b"no such image", b"image not known")):
            raise self._engine.failure(done.err)
        return done.code == 0
