"""The JSON Schema of a manifest: the structs of `shape`, with words for editors and documentation.

Nothing is validated here. The words live apart from the structs so that both stay readable; a test demands
that every key has some and that docs/manifest.md says the same.
"""

from __future__ import annotations

from typing import Any

from claude_bottle.model.capability import KINDS

WORDS = {
    "ManifestDoc.version": "version of the manifest format; always 1",
    "ManifestDoc.$schema": "a hint for editors; ignored",
    "ManifestDoc.bottles": "what is granted, by name of the bottle",
    "ManifestDoc.agents": "who runs in which bottle, by name of the agent",
    "BottleDoc.backend": "where the bottle runs; `auto` takes the best one of this machine",
    "BottleDoc.image": "what a container bottle is made from; other backends do not use it",
    "BottleDoc.workspace": "what the agent works on",
    "BottleDoc.egress": "what the bottle may reach; missing or empty means no network",
    "BottleDoc.credentials": "secrets that the gate uses on the bottle's behalf, by name",
    "BottleDoc.env": "variables set in the bottle",
    "BottleDoc.mounts": "paths of the host shown in the bottle",
    "BottleDoc.proxy_env": "set HTTP_PROXY and the like in the bottle; tools reach the gate without them",
    "BottleDoc.limits": "what the bottle may use of the machine; the plan says which of them are enforced",
    "BottleDoc.capabilities": "tools beyond what is there, each a layer, in order; the plan says what their builds reach",
    "CapabilityDoc.apt": "Debian packages, like ripgrep or ripgrep=13.0.0-4",
    "CapabilityDoc.pip": "Python packages, like ruff or ruff==0.9.1",
    "CapabilityDoc.npm": "npm packages, like prettier or prettier@3.4.0",
    "CapabilityDoc.cargo": "Rust packages, like fd-find or fd-find@10.2.0",
    "CapabilityDoc.go": "Go programs by their path, like example.com/mod/cmd/tool@v1.2.3",
    "CapabilityDoc.dockerfile": "lines of a Dockerfile, RUN and ENV only; for container bottles",
    "CapabilityDoc.network": "with `dockerfile`: its steps may reach the network; if missing they have none",
    "BottleDoc.budget": "what the bottle may spend in all, over every run of it",
    "BudgetDoc.egress_bytes": "bytes it may send out, like 50m; without a bound if missing",
    "BottleDoc.checkpoints": "checkpoints that are taken by themselves while it runs; none if missing",
    "CheckpointsDoc.every": "`turn`: whenever the agent has ended a turn",
    "CheckpointsDoc.keep": "how many of them stay, the newest; 10 if missing",
    "BudgetDoc.usd": "US dollars it may spend at the model's API, by its list prices or your own; without a bound if missing",
    "ImageDoc.dockerfile": "a Dockerfile beside or below the manifest; its directory is the build context",
    "ImageDoc.from": "an image of the engine or of its registry",
    "ImageDoc.network": "with `dockerfile`: its steps may reach the network; if missing they have none",
    "LimitsDoc.memory": "memory, like 512m or 4g",
    "LimitsDoc.cpus": "processors, like 2 or 0.5",
    "LimitsDoc.pids": "processes and threads at a time",
    "LimitsDoc.disk": "what its home and its private work may hold, like 10g; then it is stopped and kept",
    "LimitsDoc.wall": "how long it may run, like 90s, 15m or 2h; then it is stopped and kept",
    "WorkspaceDoc.mode": "`none`: a private directory; `bind`: the directory it is started from, read-write; "
    "`copy`: a private copy of it; `overlay`: the same at once, whatever its size; `clone`: a git clone of it",
    "WorkspaceDoc.include": "with `clone`: what it takes beyond what is committed, of `uncommitted` and `untracked`",
    "RuleDoc.preset": "a named set of rules that ships with claude-bottle; stands alone in its rule",
    "RuleDoc.host": "a host name, or `*.` and a domain: every direct subdomain of it",
    "RuleDoc.port": "a port number; 443 if missing",
    "RuleDoc.methods": "HTTP methods; any if missing",
    "RuleDoc.paths": "path patterns, `*` within a segment and `**` across; any if missing",
    "RuleDoc.tls": "`inspect` (if missing), or `tunnel`: opaque, so without credential, methods and paths",
    "RuleDoc.credential": "a credential of this bottle; on this host no other one gets through",
    "RuleDoc.note": "why, for whoever reads the plan",
    "RuleDoc.git": "git repositories there; the rule then grants git alone, and pushes are judged",
    "RuleDoc.websocket": "a request may become a WebSocket, whose messages nobody reads; false if missing",
    "RuleDoc.max_body": "how large one request's body may be, like 1m; any if missing",
    "GitDoc.repositories": "paths on the host, like acme/shop; `*` stands for one segment",
    "GitDoc.fetch": "fetch and clone; true if missing",
    "GitDoc.push": "refs that may be pushed, like refs/heads/bottle/*; none if missing",
    "GitDoc.force": "a pushed branch may lose commits that the remote has; false if missing",
    "GitDoc.delete": "such refs may be deleted; false if missing",
    "GitDoc.max_pack": "how large one push may be, like 10m; 50m if missing",
    "GitDoc.sign": "new commits are signed on the host, as your own git would; false if missing",
    "GitDoc.ssh": "the remote is reached by ssh, with your keys and known hosts; by https if missing",
    "SshDoc.user": "who to be there; `git` if missing",
    "SshDoc.port": "the port there; 22 if missing",
    "SshDoc.key": "an absolute or ~/ path of a private key; what your own ssh would use if missing",
    "SshDoc.directory": "what stands before a repository's path there, like /srv/git/; the user's home if missing",
    "CredentialDoc.from": "where the value is read, on the host, at launch",
    "CredentialDoc.env": "variable of the bottle that holds the placeholder",
    "CredentialDoc.header": "request header the value is put into",
    "CredentialDoc.format": "what the header holds, with `{secret}` for the value; `{secret}` if missing",
    "CredentialDoc.one_of": "in place of the other keys: alternatives, the first one set at launch is used",
    "FromDoc.env": "a variable of the operator's environment",
    "FromDoc.file": "an absolute or ~/ path of a file",
    "FromDoc.pointer": "with `file`: JSON pointer to the value, like /tokens/main",
    "FromDoc.command": "a program and its arguments; what it prints is the value",
    "FromDoc.keyring": "an entry of the operator's keyring, service and user, like github.com/me",
    "FromDoc.ttl": "with `command`: for how long the value is used, like 90s, 15m or 2h",
    "MountDoc.source": "an absolute or ~/ path on the host, with no link in it",
    "MountDoc.target": "an absolute path in the bottle",
    "MountDoc.mode": "`ro` (if missing) or `rw`",
    "AgentDoc.bottle": "name of the bottle it runs in",
    "AgentDoc.harness": "the agent program: `claude` or `shell`",
    "AgentDoc.model": "model name handed to the harness; the harness's own choice if missing",
    "AgentDoc.prompt": "file with instructions for the agent, relative to the manifest",
    "AgentDoc.skills": "directories with a `SKILL.md`, relative to the manifest: what the agent knows how to do",
    "AgentDoc.args": "further arguments for the agent program",
}

_TITLES = {
    "ManifestDoc": "manifest",
    "BottleDoc": "bottle",
    "AgentDoc": "agent",
    "RuleDoc": "rule",
    "GitDoc": "git section",
    "SshDoc": "ssh section",
    "CredentialDoc": "credential",
    "FromDoc": "source of a credential",
    "WorkspaceDoc": "workspace",
    "ImageDoc": "image",
    "LimitsDoc": "limits",
    "CapabilityDoc": "capability",
    "BudgetDoc": "budget",
    "CheckpointsDoc": "checkpoints",
    "MountDoc": "mount",
}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a manifest file, as plain data."""
    from claude_bottle.manifest import typed
    from claude_bottle.manifest.shape import ManifestDoc

    made: dict[str, Any] = typed.json.schema(ManifestDoc)
    for kind, definition in made["$defs"].items():
        definition["title"] = _TITLES[kind]
        for key, value in definition["properties"].items():
            value["description"] = WORDS[f"{kind}.{key}"]
    made["$defs"]["RuleDoc"]["oneOf"] = [{"required": ["preset"]}, {"required": ["host"]}]
    made["$defs"]["ImageDoc"]["oneOf"] = [{"required": ["dockerfile"]}, {"required": ["from"]}]
    made["$defs"]["CapabilityDoc"]["oneOf"] = [{"required": [kind]} for kind in KINDS]
    made["$defs"]["FromDoc"]["oneOf"] = [
        {"required": ["env"]},
        {"required": ["file"]},
        {"required": ["command"]},
        {"required": ["keyring"]},
    ]
    for key in ("methods", "paths"):
        made["$defs"]["RuleDoc"]["properties"][key]["minItems"] = 1
    made["$defs"]["GitDoc"]["properties"]["repositories"]["minItems"] = 1
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
