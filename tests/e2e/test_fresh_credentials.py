"""A credential with a ttl in a real bottle: changed on the host, the next requests carry the new value; gone, they are
refused with a reason the agent can read; back, they pass again. The model records what really arrived."""

from __future__ import annotations

import json

from tests.e2e.project import KEY, Project
from tests.waiting import eventually

# One request, its answer's status and body on stdout.
ASK = """
import os, urllib.error, urllib.request
body = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
key = os.environ["MODEL_KEY"]
request = urllib.request.Request("https://model.bottle.test/v1/messages", body, {"x-api-key": key})
try:
    answer = urllib.request.urlopen(request, timeout=90)
except urllib.error.HTTPError as problem:
    answer = problem
print(answer.status, answer.read().decode())
"""


def test_a_credential_with_a_ttl_stays_fresh_and_is_refused_once_expired(project: Project) -> None:
    token = project.operator / "token"
    token.write_text(KEY)
    project.write({
        "version": 1,
        "bottles": {"web": {
            "egress": [{"host": "model.bottle.test", "paths": ["/v1/messages"], "credential": "model"}],
            "credentials": {"model": {"from": {"command": ["cat", str(token)], "ttl": "2s"}, "env": "MODEL_KEY",
                                      "header": "x-api-key"}},
        }},
        "agents": {"shell": {"bottle": "web", "harness": "shell"}},
    })  # fmt: skip
    project.trust()
    done = project.run("start", "shell", "--yes", "--detach", "--", "sleep", "600")
    assert done.returncode == 0, done.stderr
    identity = done.stdout.splitlines()[-1]

    def ask() -> str:
        return project.run("exec", identity, "--", "/usr/bin/python3", "-c", ASK).stdout

    eventually(lambda: ask().startswith("200 "))
    assert {request.credential for request in project.model.requests} == {KEY}
    token.write_text("sk-the-second-key")
    eventually(lambda: ask() and project.model.requests[-1].credential == "sk-the-second-key")
    token.unlink()
    eventually(lambda: "credential_expired" in ask())
    arrived = len(project.model.requests)
    refused = ask()
    assert refused.startswith("503 ")
    assert json.loads(refused[4:])["reason"] == "credential_expired"
    assert len(project.model.requests) == arrived
    eventually(lambda: "a credential has expired" in (told := project.run("log", identity).stdout) and "No such file" in told)
    token.write_text(KEY)
    eventually(lambda: ask().startswith("200 "))
    assert project.model.requests[-1].credential == KEY
    assert project.run("stop", identity).returncode == 0
    for path in project.home.rglob("*"):
        assert not path.is_file() or not any(key in path.read_bytes() for key in (KEY.encode(), b"the-second-key"))
