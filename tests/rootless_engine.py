"""Fixture `rootless`: a docker daemon of an ordinary user's own, with nobody's rights but theirs, and the base image in it.

Root's tests only, where rootlesskit is installed. The daemon has namespaces of its own without a way out, which no launch
needs; everything below it ends with the fixture, and its directory goes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.docker_daemon import LAST_REMOVAL, end_everything_of
from tests.docker_image import TAG, root_file_system
from tests.ordinary_user import Person, an_ordinary_user, named
from tests.podman_engine import demand, new_place
from tests.waiting import eventually

# What `dockerd-rootless.sh` does before it becomes the daemon: these are links to the host's in a copied /run.
_DAEMON = 'rm -f /run/docker /run/containerd /run/xtables.lock; exec unshare --net -- dockerd "$@"'
_ROOTLESSKIT = ("rootlesskit", "--net=host", "--copy-up=/etc", "--copy-up=/run", "--propagation=rslave")


@pytest.fixture(scope="module")
def rootless() -> Iterator[Person]:
    """Whose environment leads to the daemon."""
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root's tests can make a user with subordinate ids")
    demand("rootlesskit", "dockerd", "docker", "runc", "newuidmap", "unshare", "setpriv")
    archive = root_file_system()
    if isinstance(archive, str):
        pytest.skip(f"cannot run here: {archive}")
    with new_place() as place:
        place.chmod(0o711)
        person = an_ordinary_user(place)
        own = person.place
        (own / "run").mkdir(mode=0o700)
        os.chown(own / "run", person.uid, person.uid)
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(own), "LANG": "C.UTF-8",
               "XDG_RUNTIME_DIR": f"{own}/run", "DOCKER_HOST": f"unix://{own}/run/docker.sock"}  # fmt: skip
        places = {"data-root": "data", "exec-root": "run/exec", "pidfile": "run/docker.pid"}
        options = [f"--{option}={own}/{name}" for option, name in places.items()]
        options += [f"--host={env['DOCKER_HOST']}", "--iptables=false", "--shutdown-timeout=2"]
        words = [*_ROOTLESSKIT, f"--state-dir={own}/run/kit", "sh", "-c", _DAEMON, "dockerd", *options]
        log = place / "dockerd.log"
        prefix = (*named(place, person), *person.prefix)
        with log.open("wb") as said:
            daemon = subprocess.Popen([*prefix, *words], env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            eventually(lambda: daemon.poll() is not None or client(env, "info").returncode == 0)
            if daemon.poll() is not None:
                pytest.skip(f"cannot run here: no rootless docker ({' / '.join(log.read_text().splitlines()[-3:])})")
            assert client(env, "import", str(archive), TAG).returncode == 0
            yield replace(person, prefix=prefix, env={**env, "CLAUDE_BOTTLE_HOME": f"{own}/state"})
            eventually(lambda: not held(env), LAST_REMOVAL)
        finally:
            end_everything_of(place)
            daemon.wait()


def held(env: dict[str, str]) -> bytes:
    return client(env, "ps", "--all", "--quiet").stdout + client(env, "volume", "ls", "--quiet").stdout


def client(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *words], env=env, capture_output=True, check=False, timeout=240)
