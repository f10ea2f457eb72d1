"""Real Claude Code pushes through the git gate: a branch arrives, a secret and a workflow are stopped and explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.testing.model_script import parse
from claude_bottle.testing.model_server import ScriptedModel
from tests.e2e.conftest import APART
from tests.e2e.project import KEY, MANIFEST, Project
from tests.git_remote import HOST, TOKEN, GitRemote, Repositories, git
from tests.ssh_server import USER, SshServer, key, needs_sshd

SECRET = "ghp_" + "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"
BEGIN = f"""
set -e
git clone --quiet git@{HOST}:acme/shop.git shop
cd shop
git config user.name Agent && git config user.email agent@bottle.test
git checkout --quiet -b bottle/work
echo work > work
git add . && git commit --quiet -m work
git push --quiet origin bottle/work && echo PUSHED
"""
LEAK = f"""
cd /workspace/shop && echo 'token = {SECRET}' > config && git add . && git commit --quiet -m config
git push origin bottle/work
"""
# Goes on from what the remote has now, and shows all that the bottle can read of itself.
LOOK = """
git fetch --quiet origin bottle/work && git reset --quiet --keep FETCH_HEAD
git log -1 --format='%s there: %an' --show-signature
{ find "$HOME" /workspace /tmp /run -type f -size -64k -readable -exec cat {} +; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline
find / -xdev -type s; } 2>/dev/null | tr '\\0' '\\n' | tr -cd '[:print:]\\n'
"""
TRIGGER = """
cd /workspace/shop && git reset --quiet --hard HEAD~1
mkdir -p .github/workflows && echo 'on: push' > .github/workflows/ci.yml
git add . && git commit --quiet -m ci && git push origin bottle/work
"""
TURNS: list[dict[str, Any]] = [
    {"say": "I clone and push.", "tools": [{"name": "Bash", "input": {"command": BEGIN, "description": "push"}}]},
    {"say": "Now the configuration.", "tools": [{"name": "Bash", "input": {"command": LEAK, "description": "config"}}]},
    {"say": "Now CI.", "tools": [{"name": "Bash", "input": {"command": TRIGGER, "description": "ci"}}]},
    {"say": "I have seen: {result}"},
]


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[GitRemote]:
    made = GitRemote(tmp_path / "forge", private=True)
    made.repository()
    yield made
    made.close()


@pytest.mark.parametrize("project", ["bubblewrap", "docker", APART], indirect=True)
def test_claude_pushes_a_branch_and_hears_why_the_rest_is_stopped(
    project: Project, remote: GitRemote, tmp_path: Path
) -> None:
    (tmp_path / "model-of-pushes").mkdir()
    with ScriptedModel(parse({"turns": TURNS}), keys=[KEY], tls=True, directory=tmp_path / "model-of-pushes") as model:
        settings = json.loads((project.home / "config.json").read_text())
        settings["upstreams"] = {
            "model.bottle.test:443": {"connect": f"{project.here}:{model.port}", "ca": str(model.ca_file)},
            f"{HOST}:443": {"connect": f"{project.here}:{remote.port}", "ca": str(remote.ca_file)},
        }
        project.settings("config.json", settings)
        project.env["GIT_SECRET"] = TOKEN
        rule = {"host": HOST, "credential": "git", "git": {"repositories": ["acme/shop"], "push": ["refs/heads/bottle/*"]}}
        git = {"from": {"env": "GIT_SECRET"}, "env": "GIT_TOKEN", "header": "Authorization"}
        model_bottle = {"egress": [*MANIFEST["bottles"]["model"]["egress"], rule], "credentials": {"git": git}}
        project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "model": model_bottle}})
        project.trust()
        assert "git: fetch; push refs/heads/bottle/*" in project.do("start", "claude", "--dry-run")
        done = project.run("run", "claude", "--keep", "--", "-p", "go on")
        assert done.returncode == 0, done.stderr
        heard = [json.dumps(turn.body["messages"]) for turn in model.turns if turn.kind == "turn"]
    assert "PUSHED" in heard[1]
    assert "the push is refused" in heard[2]
    assert "it looks like secrets are in it: config line 1: github-pat" in heard[2]
    assert "ci: .github/workflows/ci.yml" in heard[3]
    assert "asked as q-" in heard[3]
    assert list(remote.refs()) == ["refs/heads/bottle/work", "refs/heads/main"]
    assert len(remote.pushes()) == 1
    identity = project.only()["identity"]
    shown = project.do("egress", identity)
    assert "it looks like secrets are in it: config line 1" in shown
    assert "ci: .github/workflows/ci.yml" in shown
    assert not any(TOKEN in path.read_text(errors="replace") for path in project.home.rglob("*") if path.is_file())
    assert not (project.home / "state" / identity / "pushes").exists()


@needs_sshd
@pytest.mark.parametrize("project", ["bubblewrap", APART], indirect=True)
def test_a_bottle_pushes_by_ssh_and_its_commits_are_signed_with_keys_that_it_never_sees(
    project: Project, tmp_path: Path
) -> None:
    server, forge = SshServer(tmp_path / "sshd"), Repositories(tmp_path / "forge")
    try:
        signing = server.home / "signing"
        public = key(signing)
        secrets = {"SSH_AUTH_SOCK", str(server.home), *private(signing), *private(server.operators_key)}
        server.agent()
        secrets.add(server.environment["SSH_AUTH_SOCK"])
        project.env |= server.environment
        bare = forge.repository()
        (server.home / ".gitconfig").write_text(f"[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = {signing}\n")
        ssh = {"user": USER, "directory": f"{forge.place}/"}
        grant = {"repositories": ["acme/shop"], "push": ["refs/heads/bottle/*"], "sign": True, "ssh": ssh}
        shell = {"shell": {"bottle": "git", "harness": "shell"}}
        project.write({"version": 1, "bottles": {"git": {"egress": [{"host": HOST, "git": grant}]}}, "agents": shell})
        project.trust()
        assert "over ssh as" in project.do("start", "shell", "--dry-run")
        source = BEGIN.replace("git@", f"ssh://{USER}@").replace(":acme", "/acme") + LOOK
        done = project.run("run", "shell", "--keep", "--", "sh", "-c", source)
        assert done.returncode == 0, done.stderr
    finally:
        server.close()
    assert "the new commits were signed on their way" in done.stderr
    assert any(line.startswith("git-receive-pack ") for line in server.asked())
    (tmp_path / "allowed").write_text(f"* {public}\n")
    git(bare, "-c", f"gpg.ssh.allowedSignersFile={tmp_path}/allowed", "verify-commit", "bottle/work")
    seen = done.stdout + done.stderr
    assert "work there: Agent" in seen
    assert all(one in seen for one in ("GIT_CONFIG_COUNT=", "refs/heads/bottle/work"))  # it has looked where it says
    assert [one for one in secrets if one in seen] == []
    kept = [path.read_bytes() for path in project.home.rglob("*") if path.is_file()]
    assert kept
    assert [one for one in private(signing) if any(one.encode() in data for data in kept)] == []


def private(path: Path) -> list[str]:
    """The lines of a private key that no other key has."""
    return path.read_text().splitlines()[2:-1]


def test_a_push_that_waits_is_a_request_like_any_other_and_passes_once_it_is_approved(
    project: Project, remote: GitRemote
) -> None:
    project.settings("config.json", {"upstreams": {
        f"{HOST}:443": {"connect": f"127.0.0.1:{remote.port}", "ca": str(remote.ca_file)},
    }})  # fmt: skip
    project.env["GIT_SECRET"] = TOKEN
    project.write({
        "version": 1,
        "bottles": {"git": {
            "egress": [{"host": HOST, "credential": "git",
                        "git": {"repositories": ["acme/shop"], "push": ["refs/heads/bottle/*"]}}],
            "credentials": {"git": {"from": {"env": "GIT_SECRET"}, "env": "GIT_TOKEN", "header": "Authorization"}},
        }},
        "agents": {"shell": {"bottle": "git", "harness": "shell"}},
    })  # fmt: skip
    project.trust()
    identity = project.do("start", "shell", "--yes", "--detach", "--", "sleep", "infinity").split()[-1]
    inside = f"""
cd /workspace && git clone --quiet https://{HOST}/acme/shop.git shop && cd shop && git checkout --quiet -b bottle/ci
git config user.name Agent && git config user.email agent@bottle.test
mkdir -p .github/workflows && echo 'on: push' > .github/workflows/ci.yml && git add . && git commit --quiet -m ci
git push origin bottle/ci
"""
    assert project.run("exec", identity, "--", "sh", "-c", inside).returncode != 0
    waiting = json.loads(project.do("requests", "--json"))["requests"]
    assert [one["kind"] for one in waiting] == ["push"]
    shown = "\n".join(waiting[0]["lines"])
    assert "+ ci  .github/workflows/ci.yml" in shown
    assert "+on: push" in shown
    project.do("approve", waiting[0]["id"], "--yes", "--scope", "once")
    again = project.run("exec", identity, "--", "git", "-C", "/workspace/shop", "push", "origin", "bottle/ci")
    assert again.returncode == 0, again.stderr
    assert "refs/heads/bottle/ci" in remote.refs()
    project.do("stop", identity)
