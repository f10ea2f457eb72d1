"""Whose objects these are: the names and labels by which everything of a bottle is found again, and its removal.

An object is ours only if it carries the random id of this installation (one file beside the state), so two state roots
on one engine never touch each other's. Names are for people; finding goes by label, removing by the engine's own id
of what was found.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from claude_bottle.backend.docker.argv import check_image
from claude_bottle.backend.docker.engine import image_path
from claude_bottle.errors import BottleError
from claude_bottle.patterns import regex
from claude_bottle.state import files
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.model.plan import BottlePlan
    from claude_bottle.state.paths import Paths

SCHEMA = "1"
IDENTITY, NONCE, INSTALLATION = "claude-bottle.identity", "claude-bottle.nonce", "claude-bottle.installation"
PLAN, VERSION, IMAGE = "claude-bottle.plan", "claude-bottle.schema", "claude-bottle.image"
# What its volumes are read with, where that is another image than its own.
READER = "claude-bottle.reader"
# For an engine to finish what it has begun.
_PATIENCE = 30.0
# The same for what may as well be a running bottle's, which it never finishes.
_MOMENT = 5.0
# For one question that waits.
_WAIT_SECONDS = 0.5
_ID = regex(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Objects:
    """What an engine holds of one identity: ids of containers, names of volumes."""

    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def installation(paths: Paths) -> str:
    """The random id of this state root, made when first asked for."""
    place = paths.root / "installation"
    try:
        found = _read(place)
    except FileNotFoundError:
        paths.ensure_root()
        root = os.open(paths.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(root, fcntl.LOCK_EX)  # two first launches at once are one installation
            found = _read(place) if place.exists() else os.urandom(16).hex()
            files.write_atomic(place, found.encode() + b"\n")
        finally:
            os.close(root)
    if not _ID.fullmatch(found):
        raise BottleError(f"cannot tell whose containers are ours: {place} is damaged",
                          do=f"remove it; containers made before are then no longer ours: rm {place}")  # fmt: skip
    return found


def _read(place: Path) -> str:
    return files.read_private(place, 64).decode("ascii", "replace").strip()


def container_name(identity: str) -> str:
    return f"claude-bottle-{identity}"


def labels(identity: str, owner: str, plan: BottlePlan) -> tuple[tuple[str, str], ...]:
    """What every object of one launch carries."""
    from claude_bottle.backend.docker.gate_container import image_of

    gate = image_of(plan)
    return ((IDENTITY, identity), (INSTALLATION, owner), (NONCE, os.urandom(8).hex()), (PLAN, plan.digest),
            (VERSION, SCHEMA), (IMAGE, plan.image), *([(READER, gate)] if gate else []))  # fmt: skip


def foresee(engine: Engine, identity: str, image: str) -> None:
    """Ask what `make_way` and `declared_volumes` will ask, without waiting."""
    engine.ask_ahead(*map(_volume_path, _volumes(identity)), *([image_path(image)] if engine.declared_volumes else []))


def _volumes(identity: str) -> tuple[str, str]:
    name = container_name(identity)
    return f"{name}-home", f"{name}-work"


def _volume_path(volume: str) -> str:
    return f"/volumes/{volume}"


def declared_volumes(engine: Engine, image: str) -> tuple[str, ...]:
    """The directories that an image wants to be volumes; none where there is no such image, which its run will tell."""
    if not engine.declared_volumes:
        return ()
    asked = engine.ask("GET", image_path(image))
    if asked is not None:
        said = asked[1] if asked[0] == 200 and isinstance(asked[1], dict) else {}
        return tuple(sorted((said.get("Config") or {}).get("Volumes") or {}))
    result = engine.run(["image", "inspect", "--format={{json .Config.Volumes}}", "--", check_image(image)], check=False)
    return tuple(sorted(json.loads(result.out) or {})) if result.code == 0 else ()


def make_way(engine: Engine, owner: str, identity: str) -> None:
    """Remove volumes that an earlier launch of this identity left: a container would silently use them. BottleError for
    one that is another installation's, which is left alone."""
    found = [volume for volume in _volumes(identity) if not _free(engine, owner, volume)]
    if found:
        remove(engine, Objects((), tuple(found)), patience=_MOMENT)


def _free(engine: Engine, owner: str, volume: str) -> bool:
    """Whether no volume has this name."""
    asked = engine.ask("GET", _volume_path(volume))
    if asked is not None and asked[0] in (200, 404):
        status, said = asked
        if status == 404:
            return True
        found = (said.get("Labels") or {}) if isinstance(said, dict) else {}
    else:
        result = engine.run(["volume", "inspect", "--format={{json .Labels}}", "--", volume], check=False)
        if result.code != 0 and b"no such volume" in result.err.lower():
            return True
        if result.code != 0:
            raise engine.failure(result.err)  # whose it is has not been said
        found = json.loads(result.out) or {}
    if found.get(INSTALLATION) != owner:
        raise BottleError(f"the volume {volume} is not this installation's", why="another state root, or a person, made it",
                          do=f"{engine.program} volume rm {volume}   if nothing in it matters")  # fmt: skip
    return False


def find(engine: Engine, owner: str, identity: str) -> Objects:
    """Every object of an identity, of whatever launch."""
    wanted = [f"--filter=label={INSTALLATION}={owner}", f"--filter=label={IDENTITY}={identity}"]
    containers = engine.run(["ps", "--all", "--quiet", "--no-trunc", *wanted]).out.decode().split()
    # Not by two filters: podman lists the volumes that pass any of them.
    form = f'--format={{{{.Name}}}} {{{{.Label "{IDENTITY}"}}}}'
    lines = (line.partition(" ") for line in engine.run(["volume", "ls", wanted[0], form]).out.decode().splitlines())
    return Objects(tuple(containers), tuple(volume for volume, _, its in lines if its == identity))


def identities(engine: Engine, owner: str) -> tuple[str, ...]:
    """Every identity of this installation that has objects here, sorted."""
    wanted, form = f"--filter=label={INSTALLATION}={owner}", f'--format={{{{.Label "{IDENTITY}"}}}}'
    found = engine.run(["ps", "--all", wanted, form]).out + engine.run(["volume", "ls", wanted, form]).out
    return tuple(sorted(set(found.decode().split())))


def remove(engine: Engine, objects: Objects, *, patience: float = _PATIENCE) -> None:
    """Remove them by id, running or not, and what the image made anonymous beside them. What is gone is no error, and
    what the engine is removing already is waited for."""
    if objects.containers:
        _insist(engine, ["rm", "--force", "--volumes", "--", *objects.containers], patience)
    if objects.volumes:
        _insist(engine, ["volume", "rm", "--force", "--", *objects.volumes], patience)


def take_back(engine: Engine, owner: str, identity: str, run_dir: RunDir) -> None:
    """Remove all of a launch that did not happen. What the engine would not remove now stays marked for a later command, and
    hides no error that led here."""
    try:
        remove(engine, find(engine, owner, identity))
    except BottleError:
        run_dir.leave()
    else:
        run_dir.remove()


def foresee_removal(engine: Engine, owner: str, identity: str, container: str) -> None:
    """Ask what `remove_ended` will ask, while the container still runs: a question that waits for its removal and begins
    in the midst of that may miss it (dockerd 20.10)."""
    engine.ask_ahead(_removal_path(container), method="POST")
    engine.ask_ahead(_owned_volumes_path(owner, identity))


def remove_ended(engine: Engine, owner: str, identity: str, container: str) -> None:
    """Remove all that an identity has, whose `container` has ended and is being removed by the engine itself. Where the
    engine can be asked directly, no client is started."""
    if not _wait_for_removal(engine, container) or not _volumes_removed(engine, owner, identity):
        remove(engine, find(engine, owner, identity))


def _volumes_removed(engine: Engine, owner: str, identity: str) -> bool:
    asked = engine.ask("GET", _owned_volumes_path(owner, identity))
    if asked is None or asked[0] != 200 or not isinstance(asked[1], dict):
        return False
    paths = [f"/volumes/{one['Name']}?force=1" for one in asked[1].get("Volumes") or ()]
    engine.ask_ahead(*paths, method="DELETE")  # all at once
    answers = [engine.ask("DELETE", path) for path in paths]
    return all(answer is not None and answer[0] in (204, 404) for answer in answers)


def _owned_volumes_path(owner: str, identity: str) -> str:
    from urllib.parse import quote

    wanted = json.dumps({"label": [f"{INSTALLATION}={owner}", f"{IDENTITY}={identity}"]})
    return f"/volumes?filters={quote(wanted)}"


def _removal_path(container: str) -> str:
    return f"/containers/{container}/wait?condition=removed"


def _wait_for_removal(engine: Engine, container: str) -> bool:
    """Whether the engine says that it is gone; False where it cannot be asked directly, or leaves it lying. The question that
    waits may miss the answer (see `foresee_removal`), so it is put again and again."""
    deadline = time.monotonic() + _MOMENT
    while time.monotonic() < deadline:
        gone = engine.ask("POST", _removal_path(container), seconds=_WAIT_SECONDS)
        gone = gone or engine.ask("GET", f"/containers/{container}/json")
        if gone is None or gone[0] == 404:
            return gone is not None
        if gone[0] == 200 and isinstance(gone[1], dict) and "StatusCode" in gone[1]:
            return True
    return False


def _insist(engine: Engine, words: list[str], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        result = engine.run(words, check=False, timeout=120)
        complaints = [line for line in result.err.splitlines() if b"no such" not in line.lower()]
        if result.code == 0 or not complaints:
            return
        passing = all(b"is already in progress" in line or b"volume is in use" in line
                      or b"volume is being used" in line for line in complaints)
        if not passing or time.monotonic() > deadline:
            raise engine.failure(b"\n".join(complaints))
        time.sleep(0.05)
