"""Fixtures for tests that need a real docker daemon: `docker_engine`, `docker_host`, `base_image`, `docker_client`.

As root with docker.io installed it is a private daemon (tests/docker_daemon.py), one for all workers of a run; else the
one that `docker info` finds; else the test is skipped and says why. No test sees the machine's own client settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.docker_daemon import REMAP, USERS
from tests.docker_image import TAG, root_file_system

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_BUILDKIT")


@dataclass(frozen=True)
class Engine:
    """A daemon that answers. `settings` is what a client's environment must hold; `group` may use a private one's
    socket (0 for one that is not ours); `place` is a private directory for the lock files of those who share it."""

    settings: Mapping[str, str]
    place: Path
    private: bool
    group: int = 0
    line: socket.socket | None = field(default=None, repr=False)

    def environment(self) -> dict[str, str]:
        base = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        return {**base, **self.settings}

    def docker(self, *words: str, input: bytes | None = None, check: bool = True, client: str = "docker") -> str:
        """Run a client; its stdout, stripped. A failure is told with what the client said."""
        done = subprocess.run(
            [client, *words], env=self.environment(), input=input, capture_output=True, check=False, timeout=240
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End a private daemon by a signal and start it again; everybody who shares it suffers: use `own_engine`."""
        self.ask({"signal": number, "start": True})

    def end_dockerd(self, number: int = signal.SIGKILL) -> None:
        self.ask({"signal": number, "start": False})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.line is None:
            raise RuntimeError("not our daemon: it is neither ended nor asked what is left over")
        self.line.sendall(json.dumps(request).encode())
        answer = hear(self.line)
        if "problem" in answer:
            raise RuntimeError(answer["problem"])
        return answer

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """For work on this daemon that one worker does for all."""
        with (self.place / f"{name}.lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def hear(line: socket.socket) -> dict[str, Any]:
    """One line of JSON; nothing if the other side is gone."""
    said = b""
    while not said.endswith(b"\n"):
        piece = line.recv(65536)
        if not piece:
            return {}
        said += piece
    answer: dict[str, Any] = json.loads(said)
    return answer


def join(directory: Path) -> Engine | str:
    """Use the daemon of this directory, starting one if there is none; or why there can be none."""
    with (directory / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        while True:
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(240)
            with contextlib.suppress(ConnectionError, FileNotFoundError):
                line.connect(str(directory / USERS))
                if hello := hear(line):
                    place = Path(hello["place"])
                    settings = {"DOCKER_HOST": hello["host"], "DOCKER_CONFIG": str(place / "client")}
                    return Engine(settings, place, True, hello["group"], line)
            line.close()
            if problem := launch(directory):
                return problem


def launch(directory: Path) -> str:
    """Start an owner that survives us; empty when its daemon answers, else the reason."""
    with (directory / "owner.log").open("ab") as log:
        owner = subprocess.Popen(
            [sys.executable, "-m", "tests.docker_daemon", str(directory)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert owner.stdout
    said = owner.stdout.readline().decode().strip()
    owner.stdout.close()
    if said == "ready":
        return ""
    owner.wait()
    return said or f"no daemon could be started: {(directory / 'owner.log').read_text()[-500:]}"


def found() -> Engine | str:
    """A daemon that runs already, asked without the machine's stored client settings; or why not."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    place = Path(tempfile.mkdtemp(prefix="cb-docker-client-"))
    host = {name: os.environ[name] for name in SETTINGS if name in os.environ and name != "DOCKER_CONFIG"}
    engine = Engine({**host, "DOCKER_CONFIG": str(place)}, place, False)
    done = subprocess.run(["docker", "info"], env=engine.environment(), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return engine
    shutil.rmtree(place)
    return (done.stderr.strip().splitlines() or ["docker info failed"])[-1]


def leave(line: socket.socket) -> list[str]:
    """The last one hears what is left over, and waits until the daemon and all of its own are gone."""
    with line:
        line.shutdown(socket.SHUT_WR)
        left_over: list[str] = hear(line).get("left_over", [])
        hear(line)
    return left_over


@contextlib.contextmanager
def own_engine(directory: Path | None = None, *, remapped: bool = False) -> Iterator[Engine]:
    """A private daemon for whoever enters with this directory; a directory of its own: for a test that breaks it.
    `remapped`: its containers' users have other ids than this host's.

    Raises pytest's skip where there can be none, and fails if the last who leaves leaves anything behind."""
    made = directory or Path(tempfile.mkdtemp(prefix="cb-engine-"))
    if remapped:
        (made / REMAP).touch()
    joined = join(made)
    if isinstance(joined, str):
        if directory is None:
            shutil.rmtree(made)
        pytest.skip(f"cannot run here: no docker daemon ({joined})")
    assert joined.line
    try:
        yield joined
    finally:
        left_over = leave(joined.line)
        if directory is None:
            shutil.rmtree(made)
    if left_over:
        pytest.fail("left over in the docker daemon:\n  " + "\n  ".join(left_over))


def meeting_place(factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this run share, and no other run."""
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "docker"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


@contextlib.contextmanager
def own_or_found(directory: Path | None) -> Iterator[Engine]:
    """A private daemon as `own_engine`'s, where there can be one, else the one that is found, else pytest's skip."""
    wanted = os.geteuid() == 0 and os.environ.get("CLAUDE_BOTTLE_TEST_DOCKER") != "existing"
    if wanted and shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
        with own_engine(directory) as engine:
            yield engine
        return
    engine_or_reason = found()
    if isinstance(engine_or_reason, str):
        why = "" if os.geteuid() == 0 else "; the tests start their own only as root"
        pytest.skip(f"cannot run here: no docker daemon ({engine_or_reason}{why})")
    yield engine_or_reason
    shutil.rmtree(engine_or_reason.place, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The daemon of this run. What the tests leave in a private one fails the last test that used it."""
    with own_or_found(meeting_place(tmp_path_factory)) as engine:
        yield engine


@pytest.fixture
def docker_host(docker_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The daemon, with this process's environment pointing at it for one test."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in docker_engine.settings.items():
        monkeypatch.setenv(name, value)
    return docker_engine


@pytest.fixture(scope="session")
def base_image(docker_engine: Engine) -> str:
    return with_base_image(docker_engine)


def with_base_image(engine: Engine) -> str:
    """The tag of a small Debian with python3, git, curl, ripgrep and CA certificates, which is there from now on."""
    with engine.lock("base-image"):
        if not engine.docker("image", "ls", "--quiet", TAG):
            archive = root_file_system()
            if isinstance(archive, str):
                pytest.skip(f"cannot run here: {archive}")
            engine.docker("import", str(archive), TAG)
    return TAG


def clients() -> list[str]:
    """Every docker client of this machine: PATH's first, and the distribution's if that is another one."""
    places = [shutil.which("docker"), shutil.which("docker", path="/usr/bin:/usr/local/bin")]
    return sorted({os.path.realpath(place) for place in places if place}) or ["docker"]


@pytest.fixture(params=clients())
def docker_client(request: pytest.FixtureRequest) -> str:
    """Each client in turn: a newer one without buildx is often found before the distribution's older one."""
    if shutil.which(request.param) is None:
        pytest.skip("cannot run here: docker is not installed")
    client: str = request.param
    return client
