"""Podman as an engine: the words that `argv` and `owners` say to docker, in podman's way of saying them.

Nothing is decided here but how podman wants to hear the same thing, and what it would do beside it unless it is told
not to: copy this host's names, proxies and processes' habits into a container. There is no daemon: each call works on the
storage of whoever calls, root's or the ordinary user's own, where the bottle's user is mapped to themselves.
"""

from __future__ import annotations

import csv
import os
import re
from typing import TYPE_CHECKING, Any

from claude_bottle.backend.docker.engine import Engine
from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_bottle import proc
    from claude_bottle.proc import Popen

PROGRAM = "podman"
# Podman has no names to resolve where there is no network (they come as files, see `PodmanBackend`), and an explicit limit
# would replace all those its own settings have; the first process limits core dumps itself.
_UNSAID = ("--dns", "--add-host=", "--ulimit=")
# What podman or its settings would do otherwise. SELinux would keep a bottle from its keeper's socket; docker, too, runs
# its containers without, and the other layers are the same everywhere.
_SAID = ("--http-proxy=false", "--systemd=false", "--pid=private", "--uts=private", "--security-opt=label=disable",
         # What an image declares as a volume: writable, and gone with the container.
         "--image-volume=tmpfs")  # fmt: skip
_LABEL_FIELD = re.compile(r'\{\{\.Label ("[^"]*")\}\}')


class Podman(Engine):
    declared_volumes = False

    def __init__(self) -> None:
        super().__init__(PROGRAM)

    def info(self) -> dict[str, Any]:
        """Everything it says of itself, asked once. EnvironmentLacks or BottleError when it says nothing."""
        if not self._info:
            self._info = self.facts("/info", ["info", "--format=json"])
        return self._info

    def run(self, arguments: Sequence[str], *, timeout: float = 60, check: bool = True) -> proc.Result:
        return super().run(translate(arguments, rootless=os.geteuid() != 0), timeout=timeout, check=check)

    def popen(
        self, arguments: Sequence[str], *, more_env: Mapping[str, str] | None = None, **options: object
    ) -> Popen[bytes]:
        # A volume gets its labels when it is made, or never.
        for words in volumes_of(arguments):
            super().run(words)
        return super().popen(translate(arguments, rootless=os.geteuid() != 0), more_env=more_env, **options)

    def first_process(self, container: str) -> int:
        """Its process id here; 0 for a container that does not run."""
        said = self.run(["inspect", "--type=container", "--format={{.State.Pid}}", "--", container], check=False).out.strip()
        return int(said) if said.isdigit() else 0


def translate(words: Sequence[str], *, rootless: bool) -> list[str]:
    """The same request in podman's words."""
    if words[:2] == ["volume", "rm"]:
        # Forced, podman removes the containers that use it too: a running bottle.
        return [word for word in words if word != "--force"]
    if words[0] == "build":
        return [word for word in words if word != "--network=default"]
    if words[0] not in ("run", "create"):
        return [_LABEL_FIELD.sub(r"{{index .Labels \1}}", word) if word.startswith("--format=") else word for word in words]
    options, rest = _split(words)
    said = [*_SAID, "--userns=keep-id" if rootless else "--userns=host"] if words[0] == "run" else []
    kept = [_option(word) for word in options[1:] if not word.startswith(_UNSAID)]
    return [words[0], *said, *(word for word in kept if word), *rest]


def volumes_of(words: Sequence[str]) -> list[list[str]]:
    """The requests that make the named volumes which a container is about to use; one without labels is there already."""
    made = []
    for word in _split(words)[0] if words[0] == "run" else ():
        fields = _volume(word)
        labels = [value for name, value in _pairs(word) if name == "volume-label"]
        if fields and fields.get("source") and labels:
            made.append(["volume", "create", *(f"--label={label}" for label in labels), "--", fields["source"]])
    return made


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at:])


def _option(word: str) -> str:
    """One option in podman's words; "" for one that is left out."""
    fields = _volume(word)
    if fields is None:
        return word
    if not fields.get("source"):
        return ""  # the image's own: `_SAID`
    # No copy: it begins empty, whatever the image has there.
    extra = ",ro" if "readonly" in fields else ""
    if {":", ","} & {*fields["source"], *fields["target"]}:
        raise BottleError(f"{PROGRAM} cannot show {fields['source']} at {fields['target']}")
    return f"--volume={fields['source']}:{fields['target']}:nocopy{extra}"


def _volume(word: str) -> dict[str, Any] | None:
    fields = dict(_pairs(word))
    return fields if fields.get("type") == "volume" else None


def _pairs(word: str) -> list[tuple[str, str]]:
    """The fields of a `--mount`; none of any other option."""
    if not word.startswith("--mount="):
        return []
    (fields,) = csv.reader([word.removeprefix("--mount=")], strict=True)
    return [(name, value) for name, _, value in (field.partition("=") for field in fields)]
