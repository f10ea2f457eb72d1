"""A private daemon, an image with our first process in it, and a state root of the test's own."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import claude_bottle.backend.docker as package
from claude_bottle.backend.docker.dockerfile import PROGRAMS
from claude_bottle.model.names import new_identity
from tests.backend.docker.bottles import Place, launched
from tests.docker_engine import SETTINGS, Engine, base_image, docker_client, docker_engine, docker_host

__all__ = ["base_image", "docker_client", "docker_engine", "docker_host"]

_DOCKERFILE = """FROM {base}
COPY {ours} /opt/claude-bottle/
RUN useradd --no-log-init -m -u 1000 -s /bin/bash agent && mkdir -p /workspace && install -d -m 1777 /image-volume/open
ENV LD_PRELOAD=/image.so HTTP_PROXY=http://image.test
USER 1000
VOLUME /image-volume
HEALTHCHECK CMD true
ENTRYPOINT ["/bin/false"]
"""


@pytest.fixture(scope="session")
def agent_image(docker_engine: Engine, base_image: str) -> str:
    return build_agent_image(docker_engine, base_image)


def build_agent_image(engine: Engine, base_image: str) -> str:
    """An image whose own settings are all in our way."""
    ours = {name: Path(package.__file__).with_name(name).read_bytes() for name in PROGRAMS}
    text = _DOCKERFILE.format(base=base_image, ours=" ".join(PROGRAMS)).encode()
    content = b"".join(ours.values()) + text
    tag = f"claude-bottle-tests/agent:{hashlib.sha256(content).hexdigest()[:12]}"
    with engine.lock("agent-image"):
        if not engine.docker("image", "ls", "--quiet", tag):
            context = io.BytesIO()
            with tarfile.open(fileobj=context, mode="w") as archive:
                for name, content in {"Dockerfile": text, **ours}.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
            engine.docker("build", "--network=none", f"--tag={tag}", "-", input=context.getvalue())
    return tag


def make_place(root: Path, engine: Engine, image: str) -> Place:
    for name in ("home", "workspace"):
        (root / name).mkdir(parents=True)
    return Place(root, root / "home", root / "workspace", engine, image, new_identity("tester"))


def point_at(patch: pytest.MonkeyPatch, engine: Engine, root: Path) -> None:
    for name in SETTINGS:
        patch.delenv(name, raising=False)
    for name, value in engine.settings.items():
        patch.setenv(name, value)
    patch.setenv("CLAUDE_BOTTLE_HOME", str(root / "state"))


@pytest.fixture
def place(docker_engine: Engine, agent_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    point_at(monkeypatch, docker_engine, tmp_path)
    return make_place(tmp_path, docker_engine, agent_image)


@pytest.fixture(scope="module")
def shared(docker_engine: Engine, agent_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place for a bottle that several tests of a module look at."""
    root = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, docker_engine, root)
        yield make_place(root, docker_engine, agent_image)


@pytest.fixture(scope="module")
def bottle(shared: Place) -> Iterator[object]:
    with launched(shared) as running:
        yield running


@pytest.fixture
def engine_that_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """An engine with one answer, whatever it is asked, once; the client's settings lead to it."""
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")

        def say(answer: bytes) -> None:
            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

            threads.append(threading.Thread(target=serve, daemon=True))
            threads[-1].start()

        yield say
        for thread in threads:
            thread.join(60)
