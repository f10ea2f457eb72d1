"""A bottle's gate in a container beside the bottle's: for engines whose containers run on another machine.

The words that start it, from a plan that has a gate image among what it builds; that is how a plan says where its gate
runs. The container is on the engine's default bridge, publishes nothing, and has no right but to make connections. It is
told its configuration and all secrets over stdin; neither its words, variables, image nor labels hold any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.backend.docker import owners
from claude_bottle.backend.docker.argv import CLEARED, SYSTEM_PATH, check_image, csv
from claude_bottle.backend.docker.owners import container_name

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.model.plan import BottlePlan

KIND = "gate"
# Nobody's number: neither the agent's nor one of the base's.
GATE_UID = GATE_GID = 65532
PLACE = "/usr/lib/claude-bottle"
SHARED = "/run/bottle"
_MEMORY, _PIDS, _FILES = "512m", 64, 8192


def image_of(plan: BottlePlan) -> str | None:
    """The image of this plan's gate; None where its gate runs on this host."""
    return next((str(built["tag"]) for built in plan.image_build if built.get("kind") == KIND), None)


def name_of(identity: str) -> str:
    """Its container's name, and its shared volume's."""
    return f"{container_name(identity)}-gate"


def shared(identity: str, labels: tuple[tuple[str, str], ...], *, readonly: bool) -> str:
    """The `--mount` of the directory in which bottle and gate meet, once. The gate's side begins as its image has it."""
    extra = ["readonly", "volume-nocopy"] if readonly else []
    fields = ["type=volume", f"source={name_of(identity)}", f"target={SHARED}", *extra]
    return csv([*fields, *(f"volume-label={key}={value}" for key, value in labels)])


def remove(engine: Engine, owner: str, identity: str) -> None:
    """Make sure that it has ended and is gone."""
    mine = [f"--filter=label={owners.INSTALLATION}={owner}", f"--filter=label={owners.IDENTITY}={identity}"]
    name = f"--filter=name=^/?{name_of(identity)}$"
    found = engine.run(["ps", "--all", "--quiet", "--no-trunc", *mine, name]).out.decode().split()
    owners.remove(engine, owners.Objects(tuple(found)))


def words(identity: str, image: str, labels: tuple[tuple[str, str], ...], seccomp: str) -> list[str]:
    """Arguments that run it in the foreground: stdin and stdout of the client are its control channel."""
    found = ["run", "--interactive", "--rm", "--sig-proxy=false", f"--name={name_of(identity)}", "--hostname=gate",
             "--network=bridge", "--add-host=engines-host.internal:host-gateway", f"--user={GATE_UID}:{GATE_GID}",
             "--workdir=/", "--init=false", "--no-healthcheck", "--entrypoint=python3", "--pull=never", "--log-driver=none",
             "--restart=no"]  # fmt: skip
    found += ["--cap-drop=ALL", "--security-opt=no-new-privileges", f"--security-opt=seccomp={seccomp}", "--read-only",
              "--ipc=private", "--cgroupns=private", f"--memory={_MEMORY}", f"--memory-swap={_MEMORY}",
              f"--pids-limit={_PIDS}", f"--ulimit=nofile={_FILES}:{_FILES}", "--ulimit=core=1:1"]  # fmt: skip
    found += [f"--env=PATH={SYSTEM_PATH}", *(f"--env={name}=" for name in CLEARED)]
    found += [f"--label={name}={value}" for name, value in labels]
    found.append(f"--mount={shared(identity, labels, readonly=False)}")
    return [*found, "--", check_image(image), "-I", PLACE]


def line(identity: str) -> list[str]:
    """Arguments that, with a name after them, open a line to it from what works for it on this host."""
    return ["exec", "--interactive", "--", name_of(identity), "python3", "-I", PLACE, "line"]
