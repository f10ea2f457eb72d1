"""The plan: frozen data that says exactly what will be started.

A backend's `prepare` makes one; the operator reads it, scripts demand it by digest, the keeper executes it. Everything
a person or a script sees comes from `to_dict`, so text and JSON cannot disagree. Run-time values (the identity, the
session) stay out of the digest: the same manifest on the same host gives the same digest tomorrow.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.digests import sha256
from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.policy import Rule
from claude_bottle.values import asdict, dataclass, field

if TYPE_CHECKING:
    from claude_bottle.model.capability import Capability

RUNTIME_KEYS = ("slug", "digest", "resume_of", "fork_of", "warnings")
SESSION = "<session>"  # stands in `command` for the conversation's id, which is a run-time value
SCHEMA = 1
PRIVATE = ("copy", "overlay", "clone")  # modes of a workspace that begins as the operator's directory and is the bottle's own
UNLIMITED = "unlimited"  # the value of a limit that nobody set


@dataclass(frozen=True)
class Mount:
    """One host path shown in the bottle. `mode` is "ro" or "rw"."""

    source: str
    target: str
    mode: str = "ro"


@dataclass(frozen=True)
class Workspace:
    """What the agent works on. `mode` is "none" (a private directory), "bind" (`source` itself, read-write), "copy" (a
    private copy of `source`), "overlay" (`source` read-only below a private layer) or "clone" (a git clone of `source`, with
    what `include` names beyond what is committed)."""

    mode: str
    target: str
    source: str | None = None
    include: tuple[str, ...] = ()

    @property
    def private(self) -> bool:
        """Whether it begins as the operator's directory, and what becomes of it is the bottle's own."""
        return self.mode in PRIVATE

    def to_dict(self) -> dict[str, object]:
        said: dict[str, object] = {"mode": self.mode, "target": self.target, "source": self.source}
        return {**said, "include": list(self.include)} if self.include else said


@dataclass(frozen=True)
class Protection:
    """One layer. `state` is "on", "weaker" or "off"; `why` is empty only when on."""

    name: str
    state: str
    why: str = ""


KEEPER = "the keeper"


@dataclass(frozen=True)
class Limit:
    """One resource limit, and by what it is enforced ("" when it is not)."""

    name: str
    value: str
    enforced: bool
    by: str = ""

    @property
    def kept_here(self) -> bool:
        """Whether it is no backend's business."""
        return self.by == KEEPER


@dataclass(frozen=True)
class PlannedCredential:
    """A credential, where its value comes from (never the value), and the hosts it is bound to."""

    spec: CredentialSpec
    hosts: tuple[tuple[str, int], ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.spec.name,
            "source": self.spec.source,
            "from": self.spec.to_dict()["source_detail"],
            "env": self.spec.env,
            "header": self.spec.header,
            "format": self.spec.format,
            "hosts": [f"{host}:{port}" for host, port in self.hosts],
        }


@dataclass(frozen=True)
class Layer:
    """One capability on top of those before it: what its backend calls it once built, by its content, and where its build
    reaches, in words (nothing: nowhere)."""

    capability: Capability
    name: str
    reaches: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self.capability.to_dict(), "digest": self.capability.digest, "name": self.name,
                "reaches": list(self.reaches)}  # fmt: skip


@dataclass(frozen=True)
class BottlePlan:
    """See contract §4 for the meaning of each key; `env` maps a name to its value, placeholders excluded. `approvals`:
    what a file of the operator's approves beforehand (`supervise.rulefile`). `checkpoints`: how many of those that are taken
    at the end of a turn stay, 0: none is taken."""

    slug: str
    agent: str
    harness: str
    harness_version: str
    backend: str
    image: str
    command: tuple[str, ...]
    workspace: Workspace
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    egress: tuple[Rule, ...] = ()
    credentials: tuple[PlannedCredential, ...] = ()
    limits: tuple[Limit, ...] = ()
    budget: dict[str, object] = field(default_factory=dict)
    protections: tuple[Protection, ...] = ()
    resume_of: str | None = None
    warnings: tuple[str, ...] = ()
    proxy_env: bool = False
    remote_control: bool = False
    image_build: tuple[dict[str, object], ...] = ()
    approvals: tuple[dict[str, object], ...] = ()
    layers: tuple[Layer, ...] = ()
    fork_of: str | None = None
    checkpoints: int = 0
    skills: tuple[dict[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of everything that is not a run-time value."""
        return digest_of(self._body())

    def to_dict(self, *, remote_control: bool | None = None) -> dict[str, object]:
        """The plan as plain data. `remote_control` None keeps what the plan was made with."""
        plan = self if remote_control in (None, self.remote_control) else self.with_remote_control(bool(remote_control))
        body = plan._body()
        return {"slug": plan.slug, "digest": digest_of(body), **body, "resume_of": plan.resume_of,
                **({"fork_of": plan.fork_of} if plan.fork_of else {}), "warnings": list(plan.warnings)}  # fmt: skip

    def has(self, capability: Capability) -> bool:
        """Whether one of its layers is this very capability."""
        return any(layer.capability.digest == capability.digest for layer in self.layers)

    def with_remote_control(self, wanted: bool) -> BottlePlan:
        from claude_bottle.values import replace

        command = tuple(word for word in self.command if word != "--remote-control")
        if wanted:
            command = (*command[:2], "--remote-control", *command[2:])
        return replace(self, command=command, remote_control=wanted)

    def print(self, *, remote_control: bool | None = None) -> None:
        """Show the plan to a person, on stdout."""
        from claude_bottle.model.plan_text import render

        print(render(self.to_dict(remote_control=remote_control)))

    def _body(self) -> dict[str, object]:
        env: dict[str, dict[str, str]] = {name: {"value": value} for name, value in sorted(self.env.items())}
        for credential in self.credentials:
            env[credential.spec.env] = {"placeholder": credential.spec.name}
        return {
            "schema": SCHEMA,
            "agent": self.agent,
            "harness": {"name": self.harness, "version": self.harness_version},
            "backend": self.backend,
            "image": self.image,
            **({"image_build": list(self.image_build)} if self.image_build else {}),
            **({"layers": [layer.to_dict() for layer in self.layers]} if self.layers else {}),
            "command": list(self.command),
            "workspace": self.workspace.to_dict(),
            "mounts": [asdict(mount) for mount in self.mounts],
            "env": env,
            "proxy_env": self.proxy_env,
            "egress": [{**rule.to_dict(), "wide": rule.host.startswith("*."), "opaque": rule.tls == "tunnel"}
                       for rule in self.egress],
            "credentials": [credential.to_dict() for credential in self.credentials],
            "limits": [asdict(limit) for limit in self.limits],
            "budget": dict(self.budget),
            "protections": [asdict(protection) for protection in self.protections],
            **({"skills": list(self.skills)} if self.skills else {}),
            **({"approvals": list(self.approvals)} if self.approvals else {}),
            **({"checkpoints": {"every": "turn", "keep": self.checkpoints}} if self.checkpoints else {}),
        }  # fmt: skip


def digest_of(body: dict[str, object]) -> str:
    """The digest of a plan's dictionary; run-time keys in it are left out, so a whole `to_dict()` may be given."""
    kept = {key: value for key, value in body.items() if key not in RUNTIME_KEYS}
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(canonical.encode()).hexdigest()
