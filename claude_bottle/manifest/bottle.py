"""What a manifest says, resolved: frozen bottles and agents with their presets expanded.

Pure data. Rules and credentials are the model's own types, which refuse to exist when they make no sense;
`to_dict` is the manifest's own language again, so what was loaded can be printed, compared and loaded once
more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.durations import duration
from claude_bottle.model.git_grant import size_text
from claude_bottle.model.plan import Mount
from claude_bottle.model.policy import Rule
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from typing import TypeVar

    from claude_bottle.model.capability import Capability

    Number = TypeVar("Number", int, float)

Alternatives = tuple[CredentialSpec, ...]


@dataclass(frozen=True)
class Image:
    """What a container bottle is made from: the Dockerfile at `dockerfile` below `directory`, whose content has the
    SHA-256 `sha256` and whose steps reach the network or nothing; or the image called `base`."""

    dockerfile: str = ""
    sha256: str = ""
    base: str = ""
    network: bool = False
    directory: Path = field(default=Path("."), compare=False)

    def to_dict(self) -> dict[str, object]:
        return {"from": self.base} if self.base else {"dockerfile": self.dockerfile, "network": self.network}


@dataclass(frozen=True)
class Limits:
    """What a bottle may use: bytes of memory, processors, processes at a time, seconds, bytes of disk.
    None: not said."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    wall: int | None = None
    disk: int | None = None

    def to_dict(self) -> dict[str, object]:
        said: dict[str, object] = {} if self.memory is None else {"memory": f"{self.memory}b"}
        said |= {} if self.disk is None else {"disk": f"{self.disk}b"}
        said |= {} if self.wall is None else {"wall": duration(self.wall)}
        return said | {name: value for name, value in (("cpus", self.cpus), ("pids", self.pids)) if value is not None}

    def stricter(self, other: Limits) -> Limits:
        """Of each limit the smaller one that is said."""
        return Limits(least(self.memory, other.memory), least(self.cpus, other.cpus), least(self.pids, other.pids),
                      least(self.wall, other.wall), least(self.disk, other.disk))  # fmt: skip


@dataclass(frozen=True)
class Bottle:
    """What is granted. `workspace` is a mode of `model.plan.Workspace`, `include` what a clone takes beyond what is
    committed; `credentials` maps a name to its alternatives, the
    preferred first (usually there is one); `origin` is "home", "project", or "both" for what both of them
    grant; `checkpoints` how many of those at the end of a turn stay, 0 for none at all."""

    name: str
    backend: str = "auto"
    workspace: str = "none"
    rules: tuple[Rule, ...] = ()
    credentials: Mapping[str, Alternatives] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    proxy_env: bool = False
    origin: str = "home"
    image: Image | None = None
    limits: Limits = Limits()
    capabilities: tuple[Capability, ...] = ()
    egress_bytes: int | None = None
    include: tuple[str, ...] = ()
    checkpoints: int = 0
    usd: float | None = None

    def places(self, credential: str) -> tuple[tuple[str, int], ...]:
        """The (host, port) pairs a credential is bound to, sorted."""
        return tuple(sorted({(rule.host, rule.port) for rule in self.rules if rule.credential == credential}))

    def choose(self, environ: Mapping[str, str]) -> tuple[CredentialSpec, ...]:
        """One spec for each bound credential: the first alternative whose source is there. Only variables
        are looked at; files and commands count as there. BottleError, naming every possibility, when there
        is none."""
        chosen = []
        for name in sorted(self.credentials):
            if not self.places(name):
                continue
            alternatives = self.credentials[name]
            found = next((spec for spec in alternatives if spec.source != "env"
                          or environ.get(str(spec.source_detail))), None)  # fmt: skip
            if found is None:
                raise missing_credential(name, alternatives)
            chosen.append(found)
        return tuple(chosen)

    def to_dict(self) -> dict[str, object]:
        """This bottle in the manifest's language, every default said, presets expanded."""
        return {
            "backend": self.backend,
            "workspace": {"mode": self.workspace, **({"include": list(self.include)} if self.include else {})},
            "egress": [_rule(rule) for rule in self.rules],
            "credentials": {name: _credential(specs) for name, specs in sorted(self.credentials.items())},
            "env": dict(sorted(self.env.items())),
            "mounts": [{"source": mount.source, "target": mount.target, "mode": mount.mode} for mount in self.mounts],
            "proxy_env": self.proxy_env,
            **({"image": self.image.to_dict()} if self.image else {}),
            **({"limits": self.limits.to_dict()} if self.limits.to_dict() else {}),
            **({"capabilities": [one.to_dict() for one in self.capabilities]} if self.capabilities else {}),
            **({"budget": budget} if (budget := self._budget()) else {}),
            **({"checkpoints": {"every": "turn", "keep": self.checkpoints}} if self.checkpoints else {}),
        }

    def _budget(self) -> dict[str, object]:
        said: dict[str, object] = {} if self.egress_bytes is None else {"egress_bytes": f"{self.egress_bytes}b"}
        return said if self.usd is None else said | {"usd": self.usd}


@dataclass(frozen=True)
class Agent:
    """Who runs in which bottle. `prompt` is a path relative to `directory` (the manifest's), or ""; so are `skills`."""

    name: str
    bottle: str
    harness: str = "claude"
    model: str = ""
    prompt: str = ""
    args: tuple[str, ...] = ()
    origin: str = "home"
    directory: Path = field(default=Path("."), compare=False)
    skills: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {
            "bottle": self.bottle,
            "harness": self.harness,
            "model": self.model,
            "prompt": self.prompt,
            "args": list(self.args),
            **({"skills": list(self.skills)} if self.skills else {}),
        }


def least(one: Number | None, other: Number | None) -> Number | None:
    """The smaller one that is said."""
    said = [value for value in (one, other) if value is not None]
    return min(said) if said else None


def missing_credential(name: str, alternatives: Alternatives) -> BottleError:
    """The error for a credential none of whose variables is set."""
    variables = [str(spec.source_detail) for spec in alternatives if spec.source == "env"]
    return BottleError(
        f"no value for the credential {name!r}",
        why=f"{' and '.join('$' + variable for variable in variables)} {'is' if len(variables) == 1 else 'are'} not set",
        do=" or ".join(f"export {variable}=…" for variable in variables),
    )


def _rule(rule: Rule) -> dict[str, object]:
    made: dict[str, object] = {"host": rule.host, "port": rule.port, "tls": rule.tls}
    for key, value in (
        ("methods", list(rule.methods)),
        ("paths", list(rule.paths)),
        ("credential", rule.credential),
        ("note", rule.note),
    ):
        if value:
            made[key] = value
    if rule.websocket:
        made["websocket"] = True
    if rule.max_body is not None:
        made["max_body"] = size_text(rule.max_body)
    if rule.git:
        made["git"] = {**rule.git.to_dict(), "max_pack": size_text(rule.git.max_pack)}
    return made


def _credential(specs: Alternatives) -> dict[str, object]:
    made: list[dict[str, object]] = [
        {"from": _source(spec), "env": spec.env, "header": spec.header, "format": spec.format} for spec in specs
    ]
    return made[0] if len(made) == 1 else {"one_of": made}


def _source(spec: CredentialSpec) -> dict[str, object]:
    made: dict[str, object]
    if isinstance(spec.source_detail, tuple):
        made = {"command": list(spec.source_detail)}
        if spec.ttl:
            made["ttl"] = f"{spec.ttl}s"
        return made
    if spec.source == "file":
        path, mark, pointer = spec.source_detail.partition("#")
        made = {"file": path}
        if mark:
            made["pointer"] = pointer
        return made
    return {spec.source: spec.source_detail}
