"""An engine that cannot be used is one line with the fix, and exit code 4; whatever the client, whatever it says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.backend import choice, get_bottle_backend
from claude_bottle.backend.docker import endpoint, prereqs
from claude_bottle.backend.docker.engine import Engine, client_env
from claude_bottle.errors import BottleError, EnvironmentLacks
from tests.backend.docker.bottles import Place
from tests.docker_engine import Engine as Daemon
from tests.ordinary_user import Person
from tests.waiting import readable


def lacks(state: str = "missing") -> tuple[str, str]:
    with pytest.raises(EnvironmentLacks) as found:
        get_bottle_backend("docker").require()
    assert found.value.exit_code == 4
    assert "\n" not in found.value.what + found.value.why + found.value.do
    checked = get_bottle_backend("docker").check()
    assert [check.state for check in checked] == [state]
    assert checked[0].fix == found.value.do
    return found.value.what, found.value.do


def test_an_engine_that_answers_is_all_that_is_required(docker_host: Daemon) -> None:
    get_bottle_backend("docker").require()
    states = {check.name: check.state for check in get_bottle_backend("docker").check()}
    assert states["docker"] == "ok"
    assert "missing" not in states.values()


def test_docker_that_is_not_installed(docker_host: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    what, do = lacks("absent")
    assert what == "docker is not installed"
    assert "apt install docker.io" in do


def test_docker_that_does_not_run(docker_client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(docker_client).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert lacks() == ("docker is not running", "sudo systemctl start docker")


def test_a_context_that_is_not_there(docker_client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(docker_client).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    said = ("docker is set to a context that is not there", "docker context use default   (or unset DOCKER_CONTEXT)")
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    assert lacks() == said
    monkeypatch.delenv("DOCKER_CONTEXT")
    (tmp_path / "config.json").write_text('{"currentContext": "elsewhere"}')
    assert lacks() == said


def test_a_host_that_cannot_be(docker_client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(docker_client).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "nonsense://nowhere")
    assert lacks() == ("docker is told to use an engine that cannot be", "correct or unset DOCKER_HOST")


def test_a_socket_that_one_may_not_use(docker_host: Daemon, everybody: dict[str, Person]) -> None:
    person = everybody["user"]
    source = """
import json
from claude_bottle.backend import choice, get_bottle_backend
from claude_bottle.errors import BottleError
try:
    get_bottle_backend("docker").require()
except BottleError as error:
    print(json.dumps(error.to_dict()))
"""
    if person.uid == os.geteuid():
        pytest.skip("cannot run here: the tests are not run by root")
    env = {**person.environment(), **docker_host.settings, "DOCKER_CONFIG": str(person.place)}
    command = person.argv([person.python, "-c", source])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=person.place)
    said = json.loads(done.stdout)
    assert (said["what"], said["exit_code"]) == ("you may not use docker", 4)
    assert said["do"] == "sudo usermod -aG docker $USER   and log in again"


def test_an_engine_on_another_kernel_is_refused_where_the_gate_is_to_be_here(
    docker_host: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "ask", lambda *_a, **_o: (200, {"Version": "24.0", "KernelVersion": "1.2.3-linuxkit"}))
    prereqs.require(Engine(), anywhere=True)
    with pytest.raises(EnvironmentLacks, match="another machine"):
        prereqs.require(Engine())
    monkeypatch.setattr(Engine, "ask", lambda *_a, **_o: (200, {"Version": "19.03.1"}))
    with pytest.raises(EnvironmentLacks, match="too old"):
        prereqs.require(Engine(), anywhere=True)


def test_what_the_client_says_is_shown_as_one_clean_line() -> None:
    failure = Engine().failure(b"noise\nError: \x1b[31mboom\x07\xff\nSee 'docker run --help'.\n")
    assert (failure.what, failure.exit_code) == ("docker refused", 1)
    assert "\x1b" not in failure.why and "boom" in failure.why
    assert Engine().failure(b"").why == "it said nothing"


def test_the_client_sees_nothing_of_the_operators_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    assert "ANTHROPIC_API_KEY" not in client_env()
    assert client_env()["DOCKER_CONTEXT"] == "mine"


def test_the_engines_own_socket_is_found_as_the_client_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert endpoint.local_socket() == "/var/run/docker.sock"
    (tmp_path / "config.json").write_text('{"currentContext": "default"}')
    assert endpoint.local_socket() == "/var/run/docker.sock"
    for broken in ('{"currentContext": "desktop-linux"}', "[]", "nonsense", "\xff"):
        (tmp_path / "config.json").write_text(broken)
        assert endpoint.local_socket() is None
    (tmp_path / "config.json").unlink()
    places = {"unix:///x/y.sock": "/x/y.sock", "tcp://10.0.0.1:2375": None, "ssh://host": None, "unix://x": None}
    for host, path in places.items():
        monkeypatch.setenv("DOCKER_HOST", host)
        assert endpoint.local_socket() == path
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert endpoint.local_socket() is None


@pytest.mark.parametrize("answer", [b"nonsense", b"HTTP/1.0 x\r\n\r\n", b"\0" * 100])
def test_an_engine_that_talks_nonsense_is_an_error(answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(BottleError, match="nonsense"):
            endpoint.ask("GET", "/version")
        thread.join()


def test_an_engine_that_ends_before_it_answers_is_one_that_does_not_answer(
    engine_that_says: Callable[[bytes], None]
) -> None:
    """Its client says that it does not run."""
    engine_that_says(b"")
    assert endpoint.ask("GET", "/version") is None


def test_a_question_put_ahead_is_asked_once(engine_that_says: Callable[[bytes], None]) -> None:
    engine_that_says(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "27.1"}')
    engine = Engine()
    engine.foresee()
    assert engine.version() == {"Version": "27.1"}


def test_a_fork_puts_its_own_questions(engine_that_says: Callable[[bytes], None]) -> None:
    """A keeper has closed what its command line had open, and the numbers are other descriptors' by then."""
    engine_that_says(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "the first"}')
    endpoint.ask_ahead("GET", "/version")
    (asked,) = (one for (*_, place), one in endpoint._ahead.items() if os.environ["DOCKER_HOST"].endswith(str(place)))
    assert readable(asked.fileno())
    engine_that_says(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "the second"}')
    if (pid := os.fork()) == 0:
        os._exit(0 if endpoint.ask("GET", "/version") == (200, {"Version": "the second"}) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert endpoint.ask("GET", "/version") == (200, {"Version": "the first"})


def test_a_backend_that_is_named_is_asked_before_there_is_a_plan(
    engine_that_says: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_that_says(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "27.2"}')
    for asked, environment in ((None, "bubblewrap"), (None, "nonsense"), ("podman", "docker"), ("docker", "podman")):
        monkeypatch.setenv("CLAUDE_BOTTLE_BACKEND", environment)
        choice.foresee(asked)
    assert endpoint.ask("GET", "/version") == (200, {"Version": "27.2"})


def test_an_image_that_is_missing_has_its_fix(place: Place) -> None:
    with pytest.raises(EnvironmentLacks) as found:
        Engine().run(["run", "--rm", "--pull=never", "--", "claude-bottle-tests/none:1"])
    assert found.value.do == "claude-bottle image build"
