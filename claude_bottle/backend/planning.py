"""From what was asked for to what will be started: the part of `prepare` that is the same for every backend.

A manifest's agent and bottle, the agent program as it is on this host and the backend's own contribution become one
frozen plan. Nothing is written and nothing is started; secrets are neither read nor looked at beyond whether a
variable is set, so that a plan can be made, printed and compared anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import harness as harnesses
from claude_bottle.backend.base import Backend, Boot, Bottle, BottleSpec, Outlet, Overlay
from claude_bottle.backend.planned_work import planned_workspace
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Launch, Program, Progress, Skill
from claude_bottle.model.durations import duration
from claude_bottle.model.git_grant import size_text
from claude_bottle.model.names import new_identity
from claude_bottle.model.plan import (
    KEEPER,
    SESSION,
    BottlePlan,
    Limit,
    Mount,
    PlannedCredential,
    Protection,
)
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to
from claude_bottle.state.paths import Paths
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.manifest import Agent
    from claude_bottle.manifest.bottle import Bottle as Granted
    from claude_bottle.manifest.bottle import Limits

PROMPT_LIMIT = 256 * 1024
# Stands for the conversation's id while the command is composed; a plan shows SESSION in its place.
_NO_SESSION = "00000000-0000-0000-0000-000000000000"


def compose(
    spec: BottleSpec,
    *,
    backend: str,
    image: str,
    limits: Callable[[Limits], tuple[Limit, ...]],
    protections: tuple[Protection, ...],
    image_build: tuple[dict[str, object], ...] = (),
    no_overlay: Callable[[str, str], str],
) -> BottlePlan:
    """The plan for `spec`. `limits`: what the backend makes of those the manifest says; `no_overlay`:
    `Backend.no_overlay`. BottleError for an unknown agent, an unreadable prompt, a forbidden workspace."""
    agent = spec.manifest.agent(spec.agent_name)
    bottle = spec.manifest.bottles[agent.bottle]
    program = harnesses.get(agent.harness).find(Paths.default())
    slug = spec.resume_of or new_identity(agent.name)
    workspace, said = planned_workspace(bottle, spec, no_overlay)
    plan = BottlePlan(
        slug=slug,
        agent=agent.name,
        harness=agent.harness,
        harness_version=program.version if program else "",
        backend=backend,
        image=image,
        command=(),
        workspace=workspace,
        mounts=bottle.mounts,
        env=dict(bottle.env),
        egress=bottle.rules,
        credentials=_credentials(bottle),
        limits=_limits(limits(bottle.limits), bottle.limits),
        budget={key: said for key, said in (("egress_bytes", bottle.egress_bytes), ("usd", bottle.usd)) if said is not None},
        protections=protections,
        resume_of=spec.resume_of,
        warnings=(*spec.manifest.warnings, *said, *_warnings(bottle, agent, program)),
        proxy_env=bottle.proxy_env,
        remote_control=spec.remote_control,
        image_build=image_build,
        checkpoints=bottle.checkpoints,
        skills=tuple({"name": skill.name, "sha256": skill.sha256} for skill in _skills(agent)),
    )
    return replace(plan, command=_command(agent, spec, program))


def with_layers(backend: Backend, spec: BottleSpec, plan: BottlePlan) -> BottlePlan:
    """The plan with every capability it begins with: the manifest's, then those it was granted."""
    bottle = spec.manifest.bottles[spec.manifest.agent(spec.agent_name).bottle]
    for capability in (*bottle.capabilities, *spec.layers):
        if not plan.has(capability):
            plan = backend.with_layer(plan, capability)
    return plan


def build_layers(backend: Backend, plan: BottlePlan, progress: Progress, outlet: Outlet) -> None:
    """Build what is missing of a plan's layers, each on those below it."""
    for count, layer in enumerate(plan.layers):
        backend.build_layer(backend.below(plan, count), layer.capability, progress, outlet)


def prompt_text(agent: Agent) -> str:
    """The agent's prompt, read from the file its manifest names; "" when it names none."""
    if not agent.prompt:
        return ""
    directory = fd = -1
    try:
        directory = os.open(agent.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Beneath the manifest and through no link: a repository must not pull the operator's files into a bottle.
        fd = open_beneath(directory, agent.prompt)
        data = read_up_to(fd, PROMPT_LIMIT)
        if len(data) > PROMPT_LIMIT:
            raise ValueError(f"larger than {PROMPT_LIMIT} bytes")
        return data.decode("utf-8")
    except (OSError, ValueError, BottleError) as problem:
        raise BottleError(f"cannot read the prompt of {agent.name}", why=f"{agent.prompt}: {problem}",
                          do='"prompt" names a plain text file beside or below the manifest') from problem  # fmt: skip
    finally:
        for opened in (fd, directory):
            if opened >= 0:
                os.close(opened)


def agent_launch(agent: Agent, spec: BottleSpec, program: Program, session: str, *, resume: bool) -> Launch:
    """What the harness needs to write its command; placeholders and terminal are added by whoever really launches."""
    return Launch(
        program=program,
        args=(*agent.args, *spec.args),
        model=agent.model,
        prompt_text=prompt_text(agent),
        skills=_skills(agent),
        session_id=session,
        resume=resume,
        remote_control=spec.remote_control,
        tty=not spec.headless,
        headless=spec.headless,
    )


def _limits(made: tuple[Limit, ...], wanted: Limits) -> tuple[Limit, ...]:
    """Those of the backend, and what the keeper sees to."""
    if wanted.disk is not None:
        disk = Limit("disk", size_text(wanted.disk), enforced=True, by=KEEPER)
        made = (*(limit for limit in made if limit.name != "disk"), disk)
    wall = () if wanted.wall is None else (Limit("wall", duration(wanted.wall), enforced=True, by=KEEPER),)
    return (*made, *wall)


def _skills(agent: Agent) -> tuple[Skill, ...]:
    if not agent.skills or not harnesses.get(agent.harness).takes_skills:
        return ()
    from claude_bottle.backend.planned_skills import skills

    return skills(agent)


def _command(agent: Agent, spec: BottleSpec, program: Program | None) -> tuple[str, ...]:
    harness = harnesses.get(agent.harness)
    shown = program or Program("", (), agent.harness)
    launch = agent_launch(agent, spec, shown, _NO_SESSION, resume=spec.resume_of is not None)
    return tuple(SESSION if word == _NO_SESSION else word for word in harness.command(launch))


def _credentials(bottle: Granted) -> tuple[PlannedCredential, ...]:
    """The alternatives whose variable is set; where none is, the preferred one, so that a plan can still be shown
    (launching then fails with the words of `Bottle.choose`)."""
    try:
        chosen = bottle.choose(os.environ)
    except BottleError:
        chosen = tuple(options[0] for name, options in sorted(bottle.credentials.items()) if bottle.places(name))
    names = {spec: name for name, options in bottle.credentials.items() for spec in options}
    return tuple(PlannedCredential(spec, bottle.places(names[spec])) for spec in chosen)


def _warnings(bottle: Granted, agent: Agent, program: Program | None) -> list[str]:
    found = []
    if program is None:
        found.append(f"{agent.harness} is not installed yet; starting installs it first")
    if agent.skills and not harnesses.get(agent.harness).takes_skills:
        found.append(f"{agent.harness} has no skills; they are left out")
    try:
        bottle.choose(os.environ)
    except BottleError as problem:
        found.append(f"{problem.what}: {problem.why}")
    return found


def _scratch(place: Path, source: Path) -> Overlay:
    from claude_bottle.state import layers

    made = layers.begin_at(place / "layers", source)
    return Overlay(made.source, made.directory)


def program_mounts(program: Program) -> tuple[Mount, ...]:
    """The agent program's files as read-only mounts."""
    return tuple(Mount(source, target) for source, target in program.mounts)


@contextmanager
def standalone(backend: Backend, plan: BottlePlan) -> Iterator[Bottle]:
    """A bottle for a caller without a keeper (`backend.launch(plan)`): a home and workspace that go with it, the agent
    program as it is on this host, no gate and so no network."""
    program = harnesses.get(plan.harness).find(Paths.default())
    with temporary_directory() as place:
        home, private = place / "home", place / "workspace"
        home.mkdir(mode=0o700)
        private.mkdir(mode=0o700)
        work = plan.workspace
        source = Path(work.source) if work.source is not None else None
        boot = Boot(
            identity=plan.slug,
            home=home,
            workspace=source if source is not None and work.mode == "bind" else private,
            mounts=program_mounts(program) if program else (),
            copy_from=source if work.mode == "copy" else None,
            overlay=_scratch(place, source) if source is not None and work.mode == "overlay" else None,
        )
        if source is not None and work.mode == "clone":
            from claude_bottle.backend import clone

            clone.into(source, private, f"bottle/{plan.slug}", work.include)
        with backend.launch(plan, boot=boot) as bottle:
            try:
                yield bottle
            finally:
                bottle.close()
                bottle.release()
