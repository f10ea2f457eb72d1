"""What is decided and kept while a bottle runs whose gate is in a container: as with a gate on this host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.e2e.conftest import APART
from tests.e2e.project import MANIFEST, Project, kill
from tests.e2e.test_gate_container import detached, docker, names
from tests.waiting import SECONDS, eventually

pytestmark = pytest.mark.parametrize("project", [APART], indirect=True)
# As soon as it is answered, with nothing in between.
PORT = """
import json, socket, urllib.request
change = {"kind": "egress", "rules": [{"host": "db.bottle.test", "port": 6379, "tls": "tunnel"}], "reason": "r"}
named = {"Host": "bottle.internal", "Content-Type": "application/json"}
asked = urllib.request.Request("http://127.0.0.1/request?wait=600", json.dumps(change).encode(), named)
print(json.load(urllib.request.urlopen(asked))["state"])
with socket.create_connection(("db.bottle.test", 6379)) as server:
    print(server.recv(100).decode())
"""
SEND = "head -c 60000 /dev/zero | curl --silent --data-binary @- https://model.bottle.test/v1/messages"


def started(project: Project, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "claude_bottle", *words]
    return subprocess.Popen(command, env=project.env, cwd=project.place, stdout=subprocess.PIPE, text=True)


def asked(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.do("requests", "--json"))["requests"]
    return found


def greet(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            client.sendall(b"hello")


def test_a_port_that_is_granted_while_it_runs_is_open_at_once(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        settings = json.loads((project.home / "config.json").read_text())
        settings["upstreams"]["db.bottle.test:6379"] = {"connect": f"{project.here}:{server.getsockname()[1]}"}
        project.settings("config.json", settings)
        identity = detached(project)
        with started(project, "exec", identity, "--", "python3", "-c", PORT) as asking:
            eventually(lambda: asked(project))
            (request,) = asked(project)
            project.do("approve", request["id"], "--yes")
            assert asking.communicate(timeout=SECONDS)[0] == "applied\nhello\n"
        # The way in is gone again.
        eventually(lambda: docker(project, "exec", names(identity)[1], "ls", "-A", "/run/bottle") == "")
        project.do("stop", identity)


def test_what_is_spent_of_a_budget_outlives_the_gate_that_counted_it(project: Project) -> None:
    model = {**MANIFEST["bottles"]["model"], "budget": {"egress_bytes": "100k"}}
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "model": model}})
    project.trust()
    identity = detached(project)
    assert "budget_spent" not in project.do("exec", identity, "--", "sh", "-c", SEND)
    project.do("stop", identity)
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "infinity")
    assert "budget_spent" in project.do("exec", identity, "--", "sh", "-c", SEND)
    project.do("stop", identity)


def test_it_is_watched_and_kept_as_it_is_while_it_runs_and_goes_back_after_its_keeper_was_killed(project: Project) -> None:
    identity = project.do("start", "shell", "--cwd", "--yes", "--detach", "--", "sleep", "infinity").split()[-1]
    project.do("exec", identity, "--", "sh", "-c", "echo one > file; echo one > ~/note; truncate -s 4T endless")
    project.do("checkpoint", identity, "first")
    with started(project, "watch", identity) as watching:
        assert watching.stdout
        project.do("exec", identity, "--", "sh", "-c", f"{SEND} > /dev/null; echo two > file; rm ~/note")
        seen = ""
        while "model.bottle.test" not in seen:
            seen = watching.stdout.readline()
            assert seen
        kill(project.record(identity)["keeper"]["pid"])
        watching.communicate(timeout=SECONDS)
    eventually(lambda: not docker(project, "ps", "--quiet", f"--filter=name={identity}"))
    project.do("rewind", identity, "first")
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "infinity")
    said = project.do("exec", identity, "--", "sh", "-c", "cat file ~/note; stat --format='%s %b' endless")
    assert said == f"one\none\n{1 << 42} 0\n"
    project.do("stop", identity)
