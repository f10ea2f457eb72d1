"""A container that looks into a bottle's volumes: our own program on an image of ours, over its stdin and stdout.

The gate's image where there is one, since no agent's program was ever in it; else the bottle's own, whose interpreter its
first process ran on too. It sees the volumes read-only and has no network; that it is root there, with the one right to
read what an agent has closed, ends at its own namespaces. What it says is believed as little as the agent.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend.docker import owners, packing
from claude_bottle.backend.docker.argv import CLEARED, SYSTEM_PATH, check_image, csv
from claude_bottle.backend.docker.unpacking import Cut, Unpacking
from claude_bottle.errors import BottleError
from claude_bottle.state.replacing import replace

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

SECCOMP = Path(__file__).with_name("seccomp.json")
_MEMORY, _PIDS = "512m", 16


class Volume(NamedTuple):
    """What is read, and the directory of this host that it takes the place of, in one step, once it is whole."""

    name: str
    target: Path


def bring(engine: Engine, volumes: Sequence[Volume]) -> list[str]:
    """All of what they hold; what was left out, one line each. BottleError when it could not be had, and what could not is
    as it was here."""
    labels = labels_of(engine, volumes[0].name)
    name = f"{volumes[0].name}-reader-{os.urandom(4).hex()}"
    program = Path(packing.__file__).read_text()
    words = run_words(name, [volume.name for volume in volumes], labels, image(engine, labels), program)
    with tempfile.TemporaryFile() as errors:
        client = engine.popen(words, stdin=-3, stdout=-1, stderr=errors)
        whole = False
        try:
            if client.stdout is None:
                raise BottleError("cannot read a bottle's volumes")
            with client.stdout as stream:
                unpacking = Unpacking(stream)
                for volume in volumes:
                    replace(volume.target, unpacking.tree)
                unpacking.end()
            whole = client.wait() == 0
            return unpacking.notes
        except Cut:
            client.wait()
            errors.seek(0)
            raise engine.failure(errors.read(4096)) from None
        finally:
            client.kill()
            client.wait()
            if not whole:
                engine.run(["rm", "--force", "--", name], check=False)


def run_words(
    name: str, volumes: Sequence[str], labels: Mapping[str, str], image: str, program: str, *before: str,
    asked: bool = False,
) -> list[str]:  # fmt: skip
    """Arguments that run a program of ours in the foreground, once; its own are `before` and the places of the volumes.
    `asked`: it has its client's stdin, too."""
    places = {f"/volumes/{number}": volume for number, volume in enumerate(volumes)}
    words = ["run", *(["--interactive", "--sig-proxy=false"] if asked else []), "--rm", f"--name={name}", "--network=none",
             "--user=0:0", "--workdir=/", "--init=false", "--no-healthcheck", "--entrypoint=python3", "--pull=never",
             "--log-driver=none", "--restart=no"]  # fmt: skip
    words += ["--cap-drop=ALL", "--cap-add=DAC_OVERRIDE", "--security-opt=no-new-privileges",
              f"--security-opt=seccomp={SECCOMP}", "--read-only", "--ipc=private", "--cgroupns=private",
              f"--memory={_MEMORY}", f"--memory-swap={_MEMORY}", f"--pids-limit={_PIDS}"]  # fmt: skip
    words += [f"--env=PATH={SYSTEM_PATH}", *(f"--env={variable}=" for variable in CLEARED)]
    words += [f"--label={label}={value}" for label, value in sorted(labels.items())]
    words += [f"--mount={csv(['type=volume', f'source={volume}', f'target={place}', 'readonly', 'volume-nocopy'])}"
              for place, volume in places.items()]  # fmt: skip
    return [*words, "--", check_image(image), "-I", "-S", "-c", program, *before, *places]


def labels_of(engine: Engine, volume: str) -> dict[str, str]:
    """Those of the bottle, which its reader carries too: so it is found if it is left."""
    said = json.loads(engine.run(["volume", "inspect", "--format={{json .Labels}}", "--", volume]).out) or {}
    return {name: value for name, value in said.items() if name.startswith("claude-bottle.")}


def image(engine: Engine, labels: Mapping[str, str]) -> str:
    """The first that is there: the gate's, the bottle's own, any other that we made, which all have Python."""
    for wanted in (labels.get(owners.READER), labels.get(owners.IMAGE)):
        if wanted and engine.run(["image", "inspect", "--format=.", "--", check_image(wanted)], check=False).code == 0:
            return wanted
    found = engine.run(["image", "ls", "--quiet", "--no-trunc", "--filter=reference=claude-bottle/*"]).out.decode().split()
    if not found:
        raise BottleError("a bottle's home cannot be read from its volume", why="the engine has no image of ours",
                          do="claude-bottle image build")  # fmt: skip
    return check_image(found[0])
