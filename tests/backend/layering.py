"""Build layers and run a program on them, as a person: `python -m tests.backend.layering` reads a request and prints what
happened.

`layers` are capabilities in order, `settings` is config.json, `root` the state root; `argv` runs in a bottle with those that
could be built. `ids` "one": as where a user has no range of ids. `releases`: what /etc/os-release says at each layer, and at
the end. A layer that could not be built is an error in the answer;
what follows it is not tried.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from tests.ordinary_user import Person
    from tests.registries import Registries


def build(
    person: Person, root: Path, registries: Registries | None, *layers: dict[str, Any], **request: Any
) -> dict[str, Any]:  # fmt: skip
    """{names, lines, error, code, out, err}."""
    settings = registries.settings() if registries else {}
    said = {"root": str(root), "layers": layers, "settings": settings, **request}
    done = person.run(person.module("tests.backend.layering"), input=json.dumps(said))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    request = json.loads(sys.stdin.read())
    root = Path(request["root"])
    os.environ["CLAUDE_BOTTLE_HOME"] = str(root)
    for name, value in request.get("limits", {}).items():
        from claude_bottle.backend.bubblewrap import layer_build

        setattr(layer_build, name, value)
    if request.get("ids") == "one":
        from claude_bottle.backend import subids

        subids.own = lambda _name: None
    if request.get("bwrap") == "wheel":
        from claude_bottle.backend.bubblewrap import programs

        programs._SYSTEM = ()
    root.mkdir(mode=0o700, exist_ok=True)
    (root / "config.json").write_text(json.dumps(request["settings"]))
    (root / "config.json").chmod(0o600)
    print(json.dumps(answer(request, root)))


def answer(request: dict[str, Any], root: Path) -> dict[str, Any]:
    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.bubblewrap.backend import BubblewrapBackend
    from claude_bottle.backend.bubblewrap.layer_build import plan_of
    from claude_bottle.model.capability import Capability
    from claude_bottle.state.paths import Paths
    from claude_bottle.workflow import gates

    backend, plan = BubblewrapBackend(), plan_of("layered-000000")
    lines: list[str] = []
    error = None
    releases = iter(request.get("releases", ()))
    for layer in request["layers"]:
        turn_into(releases, root)
        try:
            plan = backend.build_layer(plan, Capability.from_dict(layer), lines.append, gates.outlet(Paths.default()))
        except BottleError as problem:
            error = problem.to_dict()
            break
    made: dict[str, Any] = {"names": [layer.name for layer in plan.layers], "lines": lines, "error": error}
    if "argv" not in request:
        return made
    turn_into(releases, root)
    home, work = root / "home", root / "work"
    for place in (home, work):
        place.mkdir(exist_ok=True)
    out, err, null = os.memfd_create("out"), os.memfd_create("err"), os.open("/dev/null", os.O_RDONLY)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "LANG": "C.UTF-8"}
    try:
        with backend.launch(plan, boot=Boot("layered-000000", home, work)) as bottle:
            code = bottle.spawn(request["argv"], env=env, stdio=(null, out, err)).wait()
    except BottleError as problem:
        return {**made, "error": problem.to_dict()}
    texts = {name: os.pread(fd, 1 << 20, 0).decode(errors="replace") for name, fd in (("out", out), ("err", err))}
    return {**made, "code": code, **texts}


def turn_into(releases: Iterator[str], root: Path) -> None:
    """This host becomes the next of `releases`, if there is one."""
    from claude_bottle.backend.bubblewrap import distribution

    for release in releases:
        distribution._OS_RELEASE = root / "os-release"
        distribution._OS_RELEASE.write_text(release)
        return


if __name__ == "__main__":
    main()
