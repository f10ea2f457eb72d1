"""Fixtures for tests that need podman: `podman_host` for whoever runs the tests, `podman_user` for an ordinary user.

Each has a storage of its own, of which nothing is left; this machine's containers, settings and names are not touched. The
ordinary user is given a name and subordinate ids in a mount namespace only. Where podman cannot run a container, the test
is skipped with podman's own words.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.docker_daemon import LAST_REMOVAL, roomy
from tests.docker_image import TAG, root_file_system
from tests.ordinary_user import Person, an_ordinary_user, end_all_of, named

SETTINGS = ("CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")


@dataclass(frozen=True)
class Podman:
    """A storage, and who uses it. `settings` is what the client's environment must hold."""

    place: Path
    settings: Mapping[str, str]
    prefix: tuple[str, ...] = ()
    base: Mapping[str, str] | None = None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**(os.environ if self.base is None else self.base), **self.settings}
        return subprocess.run([*self.prefix, "podman", *words], env=environment, cwd="/", capture_output=True, text=True,
                              check=False, timeout=240)  # fmt: skip

    def podman(self, *words: str) -> str:
        """Its stdout, stripped. A failure is told with what it said."""
        done = self.run(*words)
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def left_over(self) -> list[str]:
        """What does not go by itself, as a container does whose client has gone."""
        deadline = time.monotonic() + LAST_REMOVAL
        while (found := self.held()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def held(self) -> list[str]:
        return self.podman("ps", "--all", "--format={{.Names}}").split() + self.podman("volume", "ls", "--quiet").split()


def settings(place: Path) -> dict[str, str]:
    """A storage in `place`, an engine that needs neither systemd nor rights to raise limits, and files instead of shared
    memory for locks."""
    (place / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/data"\nrunroot = "{place}/run"\n'
        '[storage.options.overlay]\nskip_mount_home = "true"\n'
    )
    runtime = 'runtime = "runc"\n' if shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin") else ""
    (place / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=500:500"]\n'
        f'[engine]\n{runtime}cgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
        f'tmp_dir = "{place}/tmp"\nvolume_path = "{place}/volumes"\n[network]\nnetwork_config_dir = "{place}/net"\n'
    )
    return {"CONTAINERS_STORAGE_CONF": f"{place}/storage.conf", "CONTAINERS_CONF": f"{place}/containers.conf"}


@contextlib.contextmanager
def engine(place: Path, **who: object) -> Iterator[Podman]:
    """The base image in a storage at `place`, with nothing left in it at the end. Skips where podman cannot run it."""
    found = Podman(place, settings(place), **who)  # type: ignore[arg-type]
    archive = root_file_system()
    if isinstance(archive, str):
        pytest.skip(f"cannot run here: {archive}")
    try:
        with archive.open("rb") as tar:
            environment = {**(os.environ if found.base is None else found.base), **found.settings}
            done = subprocess.run([*found.prefix, "podman", "import", "-", TAG], stdin=tar, env=environment, cwd="/",
                                  capture_output=True, text=True, check=False, timeout=240)  # fmt: skip
        if done.returncode == 0:
            words = ["--userns=keep-id"] if found.prefix else []
            done = found.run("run", "--rm", "--network=none", *words, TAG, "true")
        if done.returncode:
            pytest.skip(f"cannot run here: podman ({(done.stderr.strip().splitlines() or ['it says nothing'])[-1]})")
        yield found
        left = found.left_over()
    finally:
        found.run("rm", "--all", "--force", "--volumes")
        found.run("volume", "rm", "--all", "--force")
        found.run("system", "migrate")  # ends the process that holds an ordinary user's namespaces
    if left:
        pytest.fail(f"left over in podman: {left}")


def demand(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None]
    if missing:
        pytest.skip(f"cannot run here: not installed: {', '.join(missing)}")


@contextlib.contextmanager
def new_place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="cb-podman-", dir=roomy()))
    try:
        yield place
    finally:
        subprocess.run(["rm", "-rf", "--", str(place)], check=False)


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[Podman]:
    """Podman of whoever runs the tests."""
    demand("podman")
    if os.geteuid() != 0:
        demand("newuidmap")
    with new_place() as place, engine(place) as found:
        yield found


@pytest.fixture
def podman_host(podman_engine: Podman, monkeypatch: pytest.MonkeyPatch) -> Podman:
    """The same, with this process's environment pointing at it for one test."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in podman_engine.settings.items():
        monkeypatch.setenv(name, value)
    return podman_engine


@pytest.fixture(scope="module")
def podman_user() -> Iterator[tuple[Person, Podman]]:
    """An ordinary user with podman: root's tests only, where one can be made."""
    if os.geteuid() != 0:
        pytest.skip("the tests of podman itself run as an ordinary user already")
    demand("podman", "newuidmap", "unshare", "setpriv")
    with new_place() as place:
        place.chmod(0o711)
        person = an_ordinary_user(place)
        own = person.place
        for name in ("runtime", "storage"):
            (own / name).mkdir(mode=0o700)
            os.chown(own / name, person.uid, person.uid)
        names = named(place, person)
        base = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(own), "LANG": "C.UTF-8",
                "XDG_RUNTIME_DIR": str(own / "runtime")}  # fmt: skip
        try:
            with engine(own / "storage", prefix=(*names, *person.prefix), base=base) as found:
                env = {**person.env, **base, **found.settings, "CLAUDE_BOTTLE_HOME": str(own / "state")}
                yield replace(person, prefix=found.prefix, env=env), found
        finally:
            end_all_of(place)
            # Where it puts what belongs to no storage, whatever its settings say.
            for left in (f"/tmp/podman-run-{person.uid}", f"/tmp/containers-user-{person.uid}"):
                shutil.rmtree(left, ignore_errors=True)
            Path(f"/dev/shm/libpod_rootless_lock_{person.uid}").unlink(missing_ok=True)
