"""Whose objects these are: found by label, removed only when they are ours, and nothing left after any end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.docker import owners
from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.reaping import reap
from tests.backend.docker.bottles import Place, launched, output, plan
from tests.docker_engine import ROOT
from tests.waiting import ended, eventually

KEEPER = """
import os, sys
from pathlib import Path
from tests.backend.docker.bottles import Place, launched, start
root, image, identity = sys.argv[1:]
place = Place(Path(root), Path(root, "home"), Path(root, "workspace"), None, image, identity)
with launched(place) as bottle:
    start(bottle, "sh", "-c", sys.stdin.readline(), out=os.open("/dev/null", os.O_WRONLY)).wait()
    print(bottle._sandbox.first, flush=True)
    sys.stdin.readline()
"""


def not_running(*_: object) -> None:
    raise EnvironmentLacks("docker is not running")


def killed_keeper(place: Place, script: str) -> None:
    """A keeper that started a bottle, ran `script` in it and was killed."""
    command = [sys.executable, "-c", KEEPER, str(place.root), place.image, place.identity]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as keeper:
        try:
            assert keeper.stdin and keeper.stdout
            keeper.stdin.write(script + "\n")
            keeper.stdin.flush()
            first = int(keeper.stdout.readline())
        finally:
            keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        assert ended(first)


def test_a_bottle_ends_with_its_keeper_and_leaves_its_volumes(place: Place) -> None:
    killed_keeper(place, "sleep 1000 &")
    name = f"claude-bottle-{place.identity}"
    eventually(lambda: place.objects() == [f"{name}-home", f"{name}-work"])
    assert get_bottle_backend("docker").leftovers() == (place.identity,)
    get_bottle_backend("docker").remove(place.identity)
    assert place.objects() == []
    assert get_bottle_backend("docker").leftovers() == ()
    assert list((place.root / "state" / "run").iterdir()) == []


def test_what_a_dead_keeper_left_is_brought_home(place: Place) -> None:
    (place.home / "old").write_text("goes")
    (place.home / "kept").write_text("stays")
    script = "cd; rm old; mkdir -p a/b; echo new > a/b/c; chmod 700 a/b/c; ln -s /etc/passwd l; mkfifo f"
    killed_keeper(place, script + "; echo w > /workspace/work; truncate -s 4T /workspace/endless")
    get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
    found = sorted(str(path.relative_to(place.home)) for path in place.home.rglob("*"))
    assert found == ["a", "a/b", "a/b/c", "kept", "l"]
    assert ((place.home / "a/b/c").read_text(), os.readlink(place.home / "l")) == ("new\n", "/etc/passwd")
    assert (place.home / "a/b/c").stat().st_mode & 0o7777 == 0o700
    assert {path.lstat().st_uid for path in place.home.rglob("*")} == {os.geteuid()}
    assert (place.workspace / "work").read_text() == "w\n"
    endless = (place.workspace / "endless").stat()
    assert (endless.st_size, endless.st_blocks) == (1 << 42, 0)
    assert place.objects() == []


def test_an_engine_that_fails_to_say_whose_a_volume_is_is_asked_again_and_not_taken_for_anothers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "ask", lambda *_, **__: (500, {"message": "it is busy"}))
    owners.make_way(Engine(), owners.installation(Paths.default()), place.identity)


def test_a_half_made_start_brings_nothing_home(place: Place) -> None:
    """Volumes that were never filled would otherwise replace a home by nothing."""
    (place.home / "kept").write_text("stays")
    owner = owners.installation(Paths.default())
    labels = [f"--label={owners.IDENTITY}={place.identity}", f"--label={owners.INSTALLATION}={owner}"]
    place.engine.docker("volume", "create", *labels, f"claude-bottle-{place.identity}-home")
    place.engine.docker("create", *labels, f"--name=claude-bottle-{place.identity}", place.image)
    get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
    assert (place.home / "kept").read_text() == "stays"
    assert place.objects() == []


def test_recovering_what_left_nothing_is_no_error(place: Place) -> None:
    get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
    get_bottle_backend("docker").remove(place.identity)
    assert place.home.is_dir()


def test_objects_of_another_installation_are_never_touched(place: Place) -> None:
    name = f"claude-bottle-{place.identity}"
    foreign = [f"--label={owners.IDENTITY}={place.identity}", f"--label={owners.INSTALLATION}={'0' * 32}"]
    place.engine.docker("volume", "create", *foreign, f"{name}-home")
    place.engine.docker("create", *foreign, f"--name={name}", place.image)
    try:
        backend = get_bottle_backend("docker")
        backend.remove(place.identity)
        backend.recover(place.identity, place.home, place.workspace)
        assert backend.leftovers() == ()
        with pytest.raises(BottleError, match="is not this installation's"), launched(place):
            pass
        assert place.objects() == [name, f"{name}-home"]
        place.engine.docker("rm", "--volumes", name)
        place.engine.docker("volume", "rm", f"{name}-home")
        place.engine.docker("create", *foreign, f"--name={name}", place.image)
        with pytest.raises(BottleError), launched(place):
            pass
        assert name in place.objects()
    finally:
        place.engine.docker("rm", "--force", "--volumes", name)
        place.engine.docker("volume", "rm", "--force", f"{name}-home")


def test_the_client_is_asked_where_the_engine_cannot_be_asked_directly(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "ask", lambda *_arguments, **_options: None)
    with launched(place) as bottle:
        assert output(bottle, "echo", "up") == (0, "up\n")
    assert place.objects() == []


def test_an_installation_has_one_id_for_ever(place: Place) -> None:
    paths = Paths.default()
    first = owners.installation(paths)
    assert owners.installation(paths) == first
    (paths.root / "installation").write_text("nonsense")
    with pytest.raises(BottleError, match="damaged"):
        owners.installation(paths)


def test_a_launch_removes_what_an_earlier_one_of_its_identity_left(place: Place) -> None:
    killed_keeper(place, "echo stale > ~/stale")
    with launched(place) as bottle:
        assert output(bottle, "ls", "/home/agent") == (0, "")


def test_the_home_comes_back_from_a_killed_container(place: Place) -> None:
    with launched(place) as bottle:
        output(bottle, "sh", "-c", "echo late > ~/late")
        place.engine.docker("kill", bottle.name)
        eventually(lambda: not bottle.alive())
        bottle.close()
        bottle.fetch_home()
    assert (place.home / "late").read_text() == "late\n"


def files(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_parts_of_the_home_are_fetched_while_it_runs(place: Place) -> None:
    (place.home / "projects").mkdir()
    (place.home / "projects" / "one.jsonl").write_text("1\n")
    with launched(place) as bottle:
        script = "cd; echo 2 >> projects/one.jsonl; echo x > projects/two.jsonl; echo no > other; mkdir -p .x/y"
        output(bottle, "sh", "-c", script)
        bottle.fetch_home(["projects", ".x/y", "missing/part", "missing"])
        assert files(place.home) == {"projects/one.jsonl": "1\n2\n", "projects/two.jsonl": "x\n"}
        assert (place.home / ".x" / "y").is_dir()
        output(bottle, "sh", "-c", "cd; rm -r projects; ln -s /etc projects; rm -r .x; ln -s / .x")
        bottle.fetch_home([".x/y"])
        assert not (place.home / ".x" / "y" / "etc").exists()


def test_all_of_the_home_takes_the_place_of_the_former_in_one_step(place: Place) -> None:
    (place.home / "old").write_text("old")
    with launched(place) as bottle:
        output(bottle, "sh", "-c", "cd; rm old; mkdir d; echo new > d/new; echo w > /workspace/w")
        bottle.fetch_home()
        assert (files(place.home), files(place.workspace)) == ({"d/new": "new\n"}, {"w": "w\n"})
        output(bottle, "sh", "-c", "cd; mkfifo d/pipe; python3 -c \"import os; os.chmod('d/new', 0); os.chmod('d', 0)\"")
        bottle.close()
        bottle.fetch_home()
    assert files(place.home) == {"d/new": "new\n"}
    assert not (place.home.parent / "home.incoming").exists()


def test_what_the_host_showed_in_the_home_is_not_fetched(place: Place) -> None:
    (place.root / "tools").mkdir()
    (place.root / "tools" / "big").write_text("the host's")
    with launched(place, mounts=[(f"{place.root}/tools", "/home/agent/tools", "ro")]) as bottle:
        assert output(bottle, "cat", "/home/agent/tools/big") == (0, "the host's")
        bottle.fetch_home()
    assert files(place.home) == {}


def test_a_volume_that_the_image_declares_is_found_and_removed_too(place: Place) -> None:
    """An engine that crashes leaves it, and without our label nobody would know whose it is."""
    with launched(place) as bottle:
        mounts = place.inspect("container", bottle.name)["Mounts"]
        volume = next(mount["Name"] for mount in mounts if mount["Destination"] == "/image-volume")
        assert place.inspect("volume", volume)["Labels"][owners.IDENTITY] == place.identity
        assert volume in owners.find(Engine(), owners.installation(Paths.default()), place.identity).volumes
    assert volume not in place.engine.docker("volume", "ls", "--quiet").split()


BEGINNER = """
import os, signal, sys
from pathlib import Path
from claude_bottle.backend.docker.backend import DockerBackend
from tests.backend.docker.bottles import Place, plan
root, image, identity = sys.argv[1:]
place = Place(Path(root), Path(root, "home"), Path(root, "workspace"), None, image, identity)
way = DockerBackend().begin(plan(place), ())
os.kill(os.getpid(), signal.SIGKILL if way else signal.SIGTERM)
"""


def test_what_an_engine_would_not_remove_of_a_failed_launch_is_removed_by_the_next_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = DockerBackend().begin(plan(place), ())
    assert way is not None
    with monkeypatch.context() as patch:
        patch.setattr(owners, "find", not_running)
        way.abandon()
        reap(Paths.default())
    assert place.objects() != []
    reap(Paths.default())
    assert place.objects() == []
    assert list((place.root / "state" / "run").iterdir()) == []


def test_what_is_marked_is_left_alone_once_there_may_be_something_of_an_agents_in_it(place: Place) -> None:
    with launched(place) as bottle:
        reap(Paths.default())
        assert output(bottle, "echo", "it runs") == (0, "it runs\n")


def test_what_a_killed_command_had_begun_ends_by_itself_and_is_removed(place: Place) -> None:
    """Nobody listens for its first process any more, so that ends; what is left is found like a dead keeper's."""
    command = [sys.executable, "-c", BEGINNER, str(place.root), place.image, place.identity]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    eventually(lambda: place.engine.docker("ps", "--quiet", f"--filter=name={place.identity}") == "")
    assert get_bottle_backend("docker").leftovers() == (place.identity,)
    (place.home / "kept").write_text("on this host")
    get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
    assert (place.home / "kept").read_text() == "on this host", "volumes that were never filled replace nothing"
    assert place.objects() == []
    assert list((place.root / "state" / "run").iterdir()) == []
