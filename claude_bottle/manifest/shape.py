"""The shape of a manifest file: its keys and their types, and nothing else.

These structs are the one place that says which keys exist; the typed load, the exported JSON Schema and the
key table of docs/manifest.md all come from them. What a value *means* (hosts, rules, names) is judged by the
module that enforces it. Importing this module loads msgspec, so only code that really loads a manifest may do
it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from claude_bottle.manifest.typed import UNSET, Meta, Struct, UnsetType, field

# UNSET and not None stands for "not said": a null in the file is an error.
Text = Annotated[str, Meta(max_length=4096)]
EnvValue = Annotated[str, Meta(max_length=32768)]
Fragment = Annotated[str, Meta(max_length=65536)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class FromDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """Where a credential's value is read on the host at launch: exactly one of env, file, command and keyring."""

    env: Text | UnsetType = UNSET
    file: Text | UnsetType = UNSET
    pointer: Text | UnsetType = UNSET
    command: list[Text] | UnsetType = UNSET
    ttl: Text | UnsetType = UNSET
    keyring: Text | UnsetType = UNSET


class CredentialDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """A secret that stays on the host: the bottle holds a placeholder, the gate puts the value in its
    place."""

    from_: FromDoc | UnsetType = field(name="from", default=UNSET)
    env: Text | UnsetType = UNSET
    header: Text | UnsetType = UNSET
    format: Text | UnsetType = UNSET
    one_of: list[CredentialDoc] | UnsetType = UNSET


class SshDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """How a git remote is reached by ssh."""

    user: Text = "git"
    port: Port = 22
    key: Text = ""
    directory: Text = ""


class GitDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What may be done with git repositories on a rule's host."""

    repositories: list[Text]
    fetch: bool = True
    push: list[Text] = []
    force: bool = False
    delete: bool = False
    max_pack: Text | UnsetType = UNSET
    sign: bool = False
    ssh: SshDoc | UnsetType = UNSET


class RuleDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """One thing a bottle may reach: a preset, or a host."""

    preset: Text | UnsetType = UNSET
    host: Text | UnsetType = UNSET
    port: Port | UnsetType = UNSET
    methods: list[Text] | UnsetType = UNSET
    paths: list[Text] | UnsetType = UNSET
    tls: Literal["inspect", "tunnel"] | UnsetType = UNSET
    credential: Text | UnsetType = UNSET
    note: Text | UnsetType = UNSET
    git: GitDoc | UnsetType = UNSET
    websocket: bool | UnsetType = UNSET
    max_body: Text | UnsetType = UNSET


class ImageDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What a container bottle is made from: exactly one of dockerfile and from."""

    dockerfile: Text | UnsetType = UNSET
    from_: Text | UnsetType = field(name="from", default=UNSET)
    network: bool = False


class CapabilityDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """A tool the bottle has as a layer under its file system: exactly one of apt, pip, npm, cargo, go and dockerfile."""

    apt: list[Text] | UnsetType = UNSET
    pip: list[Text] | UnsetType = UNSET
    npm: list[Text] | UnsetType = UNSET
    cargo: list[Text] | UnsetType = UNSET
    go: list[Text] | UnsetType = UNSET
    dockerfile: Fragment | UnsetType = UNSET
    network: bool | UnsetType = UNSET


class LimitsDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What a bottle may use of the machine."""

    memory: Text | UnsetType = UNSET
    cpus: float | UnsetType = UNSET
    pids: int | UnsetType = UNSET
    wall: Text | UnsetType = UNSET
    disk: Text | UnsetType = UNSET


class BudgetDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What a bottle may spend in all, over every run of it."""

    egress_bytes: Text | UnsetType = UNSET
    usd: int | float | UnsetType = UNSET


class WorkspaceDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What the agent works on."""

    mode: Literal["none", "bind", "copy", "overlay", "clone"]
    include: list[Literal["uncommitted", "untracked"]] | UnsetType = UNSET


class CheckpointsDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """Checkpoints that are taken by themselves."""

    every: Literal["turn"]
    keep: Annotated[int, Meta(ge=1, le=100)] = 10


class MountDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """A path of the host shown in the bottle."""

    source: Text
    target: Text
    mode: Literal["ro", "rw"] = "ro"


class BottleDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """What is granted."""

    backend: Literal["auto", "bubblewrap", "docker", "podman"] = "auto"
    image: ImageDoc | UnsetType = UNSET
    workspace: WorkspaceDoc | UnsetType = UNSET
    egress: list[RuleDoc] = []
    credentials: dict[str, CredentialDoc] = {}
    env: dict[str, EnvValue] = {}
    mounts: list[MountDoc] = []
    proxy_env: bool = False
    limits: LimitsDoc | UnsetType = UNSET
    capabilities: list[CapabilityDoc] = []
    budget: BudgetDoc | UnsetType = UNSET
    checkpoints: CheckpointsDoc | UnsetType = UNSET


class AgentDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """Who runs in which bottle."""

    bottle: Text
    harness: Text = "claude"
    model: Text = ""
    prompt: Text = ""
    skills: list[Text] = []
    args: list[Text] = []


class ManifestDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """A claude-bottle manifest."""

    version: Literal[1]
    schema_: Text | UnsetType = field(name="$schema", default=UNSET)
    bottles: dict[str, BottleDoc] = {}
    agents: dict[str, AgentDoc] = {}


class PresetDoc(Struct, forbid_unknown_fields=True, frozen=True):
    """A preset's data file."""

    preset: str
    version: int
    summary: str
    egress: list[RuleDoc]
    credentials: dict[str, CredentialDoc] = {}
    env: dict[str, str] = {}
