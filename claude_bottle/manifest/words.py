"""Grants in words: what a bottle may reach, read and use, one line each, as the operator is asked to consent
to it.

Pure. Every word that comes from a manifest is sanitised here, since a project's manifest is foreign text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.git_grant import size_text
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.manifest.bottle import Bottle, Image
    from claude_bottle.model.capability import Capability
    from claude_bottle.model.credentials import CredentialSpec
    from claude_bottle.model.plan import Mount
    from claude_bottle.model.policy import Rule


def describe_rule(rule: Rule) -> str:
    """`reach api.github.com: GET /repos/acme/** with the credential github`."""
    place = rule.host.replace("*.", "every subdomain of ", 1) if rule.wide else rule.host
    place = place if rule.port == 443 else f"{place}:{rule.port}"
    what = " ".join([", ".join(rule.methods) or "any method", ", ".join(rule.paths) or "on any path"])
    what += f", bodies up to {size_text(rule.max_body)}" if rule.max_body is not None else ""
    what += ", and as a WebSocket, unseen" if rule.websocket else ""
    if rule.tls == "tunnel":
        what = "anything, unseen (tunnel)"
    if rule.git:
        what = rule.git.describe()
    credential = f" with the credential {printable(rule.credential)}" if rule.credential else ""
    return f"reach {place}: {printable(what)}{credential}"


def describe_source(spec: CredentialSpec) -> str:
    """Where a credential is read on the host."""
    if isinstance(spec.source_detail, tuple):
        import shlex

        where = f"run on this host: {shlex.join(spec.source_detail)}"
    elif spec.source == "file":
        where = f"read the host's file {spec.source_detail}"
    elif spec.source == "keyring":
        where = f"read the entry {spec.source_detail} of your keyring"
    else:
        where = f"read your variable ${spec.source_detail}"
    return f"{printable(where)} (credential {printable(spec.name)}, sent in the header {spec.header})"


def describe_mount(mount: Mount) -> str:
    verb = "read and write" if mount.mode == "rw" else "read"
    return printable(f"{verb} {mount.source} (as {mount.target})")


def describe_workspace(mode: str, include: Sequence[str] = ()) -> str:
    beyond = f" with what is {' and '.join(include)}" if include else ""
    return {
        "bind": "read and write the directory it is started from",
        "copy": "read the directory it is started from (a copy)",
        "overlay": "read the directory it is started from, all of it (an overlay)",
        "clone": f"read the git repository it is started from (a clone{beyond})",
    }.get(mode, "")


def describe_image(image: Image) -> str:
    """With the content of a Dockerfile as part of the words: building it runs what it says."""
    if image.base:
        return f"run in the image {printable(image.base)}"
    reach = "with the network" if image.network else "without a network"
    return f"build the image of {printable(image.dockerfile)} {reach} (sha256 {image.sha256})"


def describe_capability(capability: Capability) -> str:
    """A fragment with its content as part of the words, as an image."""
    words = f"build and use the layer {capability.describe()}"
    if not capability.fragment:
        return words
    reach = "with the network" if capability.network else "without a network"
    return f"{words} {reach} (sha256 {capability.digest})"


def grants(bottle: Bottle) -> list[str]:
    """Everything a bottle grants, each line beginning with its name; empty for one without any right.

    Variables, `proxy_env` and checkpoints are no grants: they act on the bottle alone.
    """
    lines = [describe_rule(rule) for rule in bottle.rules]
    lines += [
        describe_source(spec) for name, specs in sorted(bottle.credentials.items()) for spec in specs if bottle.places(name)
    ]
    lines += [describe_mount(mount) for mount in bottle.mounts]
    if bottle.workspace != "none":
        lines.append(describe_workspace(bottle.workspace, bottle.include))
    if bottle.image is not None:
        lines.append(describe_image(bottle.image))
    lines += [describe_capability(one) for one in bottle.capabilities]
    return [f"{bottle.name}: {line}" for line in dict.fromkeys(lines)]
