"""The docker daemon of the tests: it answers every client, holds the base image, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_daemon import processes_of, sweep
from tests.docker_engine import Engine, base_image, docker_client, docker_engine, docker_host, join, own_engine
from tests.waiting import ended, eventually

__all__ = ["base_image", "docker_client", "docker_engine", "docker_host"]


def private(engine: Engine) -> Engine:
    if not engine.private:
        pytest.skip("cannot run here: the daemon is not the tests' own")
    return engine


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="cb-engine-") as made:
        yield Path(made)


def test_every_client_of_this_machine_can_talk_to_it(docker_engine: Engine, docker_client: str) -> None:
    assert docker_engine.docker("version", "--format", "{{.Server.Version}}", client=docker_client)


def test_a_container_of_the_base_image_runs_without_network(docker_engine: Engine, base_image: str) -> None:
    script = "import os; print(os.listdir('/sys/class/net'))"
    said = docker_engine.docker("run", "--rm", "--network", "none", base_image, "python3", "-c", script)
    assert "lo" in said and "eth0" not in said


def test_the_base_image_holds_what_an_agent_needs(docker_engine: Engine, base_image: str) -> None:
    script = "command -v python3 git curl rg && test -s /etc/ssl/certs/ca-certificates.crt"
    docker_engine.docker("run", "--rm", "--network", "none", base_image, "sh", "-ec", script)


def test_only_a_test_that_asks_for_it_sees_it_in_its_environment(docker_host: Engine) -> None:
    assert docker_host.settings.items() <= os.environ.items()
    assert "DOCKER_CONTEXT" not in os.environ


def test_a_container_sees_files_of_the_host_and_hands_back_a_socket(
    docker_engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """What the backend's listeners rest on: same kernel, bind mounts and descriptors pass through."""
    (tmp_path / "here").write_text("yes")
    script = "import socket; print(open('/in/here').read()); socket.socket(socket.AF_UNIX).bind('/in/made')"
    volume = f"{tmp_path}:/in"
    said = docker_engine.docker("run", "--rm", "--network", "none", "-v", volume, base_image, "python3", "-c", script)
    assert said == "yes"
    assert (tmp_path / "made").is_socket()


def test_members_of_its_group_may_use_it_and_nobody_else(docker_engine: Engine) -> None:
    engine = private(docker_engine)
    for groups, expected in ((["--groups", str(engine.group)], True), (["--clear-groups"], False)):
        person = ["setpriv", "--reuid=61001", "--regid=61001", *groups, "--"]
        command = [*person, "docker", "--host", engine.settings["DOCKER_HOST"], "ps"]
        settings = {"PATH": os.environ["PATH"], "HOME": "/"}
        done = subprocess.run(command, env=settings, cwd="/", capture_output=True, check=False)
        assert (done.returncode == 0) is expected, done.stderr


def test_what_is_left_behind_is_told_and_nothing_of_the_daemon_remains(docker_engine: Engine) -> None:
    private(docker_engine)
    places = []

    def forget_a_volume() -> None:
        with own_engine() as engine:
            places.append(engine.place)
            engine.docker("volume", "create", "forgotten")

    with pytest.raises(pytest.fail.Exception, match="volume forgotten"):
        forget_a_volume()
    assert not places[0].exists()
    assert not processes_of(places[0])
    assert str(places[0]) not in Path("/proc/self/mountinfo").read_text()


def test_a_restart_keeps_what_it_holds(docker_engine: Engine) -> None:
    private(docker_engine)
    with own_engine() as engine:
        engine.docker("volume", "create", "kept")
        engine.restart(signal.SIGKILL)
        assert engine.docker("volume", "rm", "kept") == "kept"


def test_users_that_are_killed_end_it_too(docker_engine: Engine, short: Path) -> None:
    private(docker_engine)
    script = (
        "import sys, signal; from pathlib import Path; from tests.docker_engine import join;"
        "print(join(Path(sys.argv[1])).place, flush=True); signal.pause()"
    )
    user = subprocess.Popen([sys.executable, "-c", script, str(short)], stdout=subprocess.PIPE, text=True)
    assert user.stdout
    place = Path(user.stdout.readline().strip())
    assert processes_of(place)
    user.kill()
    user.communicate()
    eventually(lambda: not place.exists())
    assert not processes_of(place)


def test_what_a_killed_owner_left_is_removed_by_the_next(docker_engine: Engine, short: Path) -> None:
    private(docker_engine)
    engine = join(short)
    assert isinstance(engine, Engine) and engine.line
    owner = next(pid for pid in processes_of(short) if b"docker_daemon" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(owner, signal.SIGKILL)
    engine.line.close()
    assert ended(owner)
    sweep()
    eventually(lambda: not engine.place.exists())  # a test beside this one may start an owner, who sweeps too
    assert not processes_of(engine.place)
