"""The container engine, spoken to through its own command line client.

Contexts, remote hosts, logins and versions are the client's business; this module only starts it, one process a call
(25 ms), and turns whatever it says into one line with a fix. It decides nothing about bottles. An engine that cannot be
used is EnvironmentLacks, a request that it refuses a BottleError.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from claude_bottle import proc
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_bottle.proc import Popen

_SECONDS = 20
_VERSION, _INFO = "/version", "/info"
# What the client needs beside `proc.base_env` to find its engine; none of them is for a bottle.
_CLIENT_ENV = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
               "DOCKER_API_VERSION", "SSH_AUTH_SOCK", "CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINERS_CONF",
               "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "DBUS_SESSION_BUS_ADDRESS", "XDG_CONFIG_HOME",
               "XDG_DATA_HOME")  # fmt: skip
_INSTALL = {"docker": "sudo apt install docker.io   (or see https://docs.docker.com/engine/install/)",
            "podman": "sudo apt install podman uidmap   (or see https://podman.io/docs/installation)"}  # fmt: skip

# (what its client says, what that means, what to do); the first that is found counts. Lower case.
_FAILURES = (
    ("permission denied while trying to connect", "you may not use {program}",
     "sudo usermod -aG {program} $USER   and log in again"),
    ("got permission denied", "you may not use {program}", "sudo usermod -aG {program} $USER   and log in again"),
    ("invalid bind address format", "{program} is told to use an engine that cannot be", "correct or unset DOCKER_HOST"),
    ("unable to parse {program} host", "{program} is told to use an engine that cannot be",
     "correct or unset DOCKER_HOST"),
    ("resolve {program} endpoint", "{program} is set to a context that is not there",
     "{program} context use default   (or unset DOCKER_CONTEXT)"),
    ("current context", "{program} is set to a context that is not there",
     "{program} context use default   (or unset DOCKER_CONTEXT)"),
    ("cannot connect to the {program} daemon at tcp:", "{program} cannot be reached",
     "correct or unset DOCKER_HOST   (or {program} context use default)"),
    ("cannot connect to the {program} daemon", "{program} is not running", "sudo systemctl start {program}"),
    ("daemon running", "{program} is not running", "sudo systemctl start {program}"),
    ("error during connect", "{program} cannot be reached", "{program} version   shows why; DOCKER_HOST and contexts count"),
    ("failed to connect to the {program} api", "{program} is not running", "sudo systemctl start {program}"),
    ("no such image", "the bottle's image is missing", "claude-bottle image build"),
    ("unable to find image", "the bottle's image is missing", "claude-bottle image build"),
    ("image not known", "the bottle's image is missing", "claude-bottle image build"),
    # Podman, which has no daemon.
    ("cannot connect to podman", "podman is told to use a service that cannot be reached", "unset CONTAINER_HOST"),
    ("unable to connect to podman", "podman is told to use a service that cannot be reached", "unset CONTAINER_HOST"),
    ("failed to resolve active destination", "podman is set to a connection that is not there",
     "unset CONTAINER_CONNECTION   (or podman system connection list)"),
    ("no subuid ranges", "podman has no user ids for an ordinary user's containers",
     "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER && podman system migrate"),
    ("newuidmap", "podman has no user ids for an ordinary user's containers", "sudo apt install uidmap"),
    ("no space left on device", "{program} has no disk space left", "{program} system df   shows what takes it"),
)  # fmt: skip


class Engine:
    """One client program on PATH: `docker`, or one that takes the same words."""

    # Whether it makes what an image declares as volumes, which must then be given our labels.
    declared_volumes = True

    def __init__(self, program: str = "docker") -> None:
        self.program = program
        self._version: dict[str, Any] | None = None
        self._info: dict[str, Any] = {}

    def run(self, arguments: Sequence[str], *, timeout: float = 60, check: bool = True) -> proc.Result:
        """Run the client to its end. With `check`, raises `failure` for an exit code other than 0."""
        self.require_client()
        result = proc.run([self.program, *arguments], env=client_env(), timeout=timeout, check=False)
        if check and result.code != 0:
            raise self.failure(result.err)
        return result

    def popen(
        self, arguments: Sequence[str], *, more_env: Mapping[str, str] | None = None, **options: object
    ) -> Popen[bytes]:
        """Start the client; the caller owns it. `more_env`: further variables for it."""
        self.require_client()
        return proc.popen([self.program, *arguments], env=client_env() | dict(more_env or {}), **options)

    def ask(self, method: str, path: str, *, seconds: float = 20) -> tuple[int, Any] | None:
        """(status, JSON) from the engine itself, where that can be had without a client; None: use the client."""
        if self.program != "docker":
            return None
        from claude_bottle.backend.docker import endpoint

        return endpoint.ask(method, path, seconds=seconds)

    def ask_ahead(self, *paths: str, method: str = "GET") -> None:
        """Put questions whose answers the next `ask` for each of them takes: an engine answers while we go on."""
        if self.program == "docker":
            from claude_bottle.backend.docker import endpoint

            for path in paths:
                endpoint.ask_ahead(method, path)

    def foresee(self) -> None:
        """Ask for `version` and `info` without waiting: an engine looks at its own programs for them."""
        self.ask_ahead(_VERSION, _INFO)

    @cached_property
    def interface(self) -> str | None:
        """The version of the interface by which the engine itself can be asked for a container; None: its client must be."""
        if self.program != "docker":
            return None
        from claude_bottle.backend.docker import endpoint

        return endpoint.version()

    def version(self) -> dict[str, Any]:
        """What the engine says of itself: Version, KernelVersion, Platform. Asked once. Raises `failure` where there is
        none that answers."""
        if self._version is None:
            self._version = self.facts(_VERSION, ["version", "--format={{json .Server}}"])
        return self._version

    def info(self) -> dict[str, Any]:
        """Everything else it says of itself: SecurityOptions, NCPU, MemTotal. Asked once; raises as `version`."""
        if not self._info:
            self._info = self.facts(_INFO, ["info", "--format={{json .}}"])
        return self._info

    def facts(self, path: str, words: Sequence[str]) -> dict[str, Any]:
        """A JSON object from the engine itself (GET `path`), or from its client's `words`."""
        answer = self.ask("GET", path)
        if answer is not None and answer[0] == 200 and isinstance(answer[1], dict):
            return answer[1]
        said = self.run(words, timeout=_SECONDS, check=False)
        try:
            found = json.loads(said.out)
        except ValueError:
            found = None
        if said.code != 0 or not isinstance(found, dict):
            raise self.failure(said.err)
        return found

    def first_process(self, container: str) -> int:
        """The engine's word for which process here is a container's first, where control groups may not say it; else 0."""
        return 0

    def require_client(self) -> None:
        if proc.find(self.program) is None:
            do = _INSTALL.get(self.program, f"install {self.program}")
            raise EnvironmentLacks(f"{self.program} is not installed", why=f"no {self.program} on PATH", do=do)

    def failure(self, said: bytes) -> BottleError:
        """The error for what the client wrote when it failed."""
        text = said.decode(errors="replace").strip()
        lines = [line for line in text.splitlines() if line and not line.startswith(("See '", "Run '"))]
        why = printable(lines[-1] if lines else "it said nothing", width=400)
        for words, what, do in _FAILURES:
            if words.format(program=self.program) in text.lower():
                return EnvironmentLacks(what.format(program=self.program), why=why, do=do.format(program=self.program))
        return BottleError(f"{self.program} refused", why=why)


def image_path(name: str) -> str:
    """Where an engine says what it knows of an image."""
    return f"/images/{check_image(name)}/json"


def client_env() -> dict[str, str]:
    """The part of the operator's environment that the client gets."""
    return proc.base_env() | {name: os.environ[name] for name in _CLIENT_ENV if name in os.environ}
