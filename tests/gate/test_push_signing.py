"""Pushes whose commits are signed on the operator's side: real keys, which no bottle sees, and git's own verification."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.ca import Authority
from claude_bottle.keeper import judges
from claude_bottle.model.push import ZERO
from tests.gate.forge import Forge, git, rule
from tests.ssh_server import key

WHO = "operator@bottle.test"
Make = Callable[..., Forge]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "operator"
    made.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(made))
    for name in ("SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    return made


def settings(home: Path, *lines: str) -> None:
    subprocess.run(["git", "config", "--global", "user.email", WHO], check=True)
    for line in lines:
        name, _, value = line.partition("=")
        subprocess.run(["git", "config", "--global", name, value], check=True)


def by_ssh(home: Path) -> dict[str, str]:
    """The operator signs with a key of ssh; what a verifier needs."""
    public = key(home / "signing")
    settings(home, "gpg.format=ssh", f"user.signingKey={home}/signing")
    (home / "allowed").write_text(f"{WHO} {public}\n")
    name = "gpg.ssh.allowedSignersFile"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name, "GIT_CONFIG_VALUE_0": f"{home}/allowed"}


@pytest.fixture
def make(tmp_path: Path, authority: Authority, home: Path) -> Iterator[Make]:
    made: list[Forge] = []

    def build(**more: Any) -> Forge:
        made.append(Forge(tmp_path, authority, rule(sign=True, **more)))
        made[-1].clone()
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_new_commits_arrive_signed_and_the_bottle_goes_on_from_them(make: Make, home: Path) -> None:
    trust = by_ssh(home)
    forge = make()
    main = forge.refs()["refs/heads/main"]
    forge.commit(content="one\n", branch="bottle/x")
    forge.do("checkout", "--quiet", "-b", "side")
    forge.commit("side", message="with\n\nmore: words\n\n-----BEGIN x")
    forge.do("checkout", "--quiet", "bottle/x")
    forge.commit(content="two\n")
    forge.do("merge", "--quiet", "--no-edit", "side")
    mine = forge.do("rev-parse", "HEAD")
    done = forge.run("push", "origin", "bottle/x")
    assert done.returncode == 0, done.stderr
    there = forge.refs()["refs/heads/bottle/x"]
    assert there != mine
    assert f"remote:   refs/heads/bottle/x: your {mine[:12]} is {there} there" in done.stderr
    new = git(forge.bare, "rev-list", there, "--not", main).split()
    assert len(new) == 4
    for one in new:
        git(forge.bare, "verify-commit", one, **trust)
    git(forge.bare, "fsck", "--strict", "--full")
    said = done.stderr.split("to go on from them: ")[1].splitlines()[0].strip()
    assert said == "git fetch origin bottle/x && git reset --keep FETCH_HEAD"
    forge.do("fetch", "--quiet", "origin", "bottle/x")
    forge.do("reset", "--keep", "FETCH_HEAD")
    words = "--format=%T %an %ae %ad %cn %ce %cd %B"
    assert forge.do("log", words, "HEAD") == forge.do("log", words, mine)
    forge.commit(content="three\n")
    forge.do("push", "origin", "bottle/x")
    git(forge.bare, "verify-commit", forge.refs()["refs/heads/bottle/x"], **trust)
    told = forge.decisions()[-1]["push"]
    assert (told["commits"], told["signed"]) == (1, 1)


def test_a_key_of_an_agent_signs_and_the_bottles_own_signature_gives_way(
    make: Make, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = by_ssh(home)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "agent")], stdout=subprocess.PIPE)
    try:
        assert agent.stdout and agent.stdout.readline()  # its words come once it listens
        subprocess.run(["ssh-add", "-q", str(home / "signing")], check=True)
        settings(home, f"user.signingKey=key::{(home / 'signing.pub').read_text().strip()}")
        (home / "signing").unlink()
        forge = make()
        key(tmp_path / "theirs")
        forge.do("config", "gpg.format", "ssh")
        forge.do("config", "user.signingKey", str(tmp_path / "theirs"))
        forge.do("config", "commit.gpgSign", "true")
        forge.commit(branch="bottle/x")
        assert "gpgsig" in forge.do("cat-file", "-p", "HEAD")
        forge.do("push", "origin", "bottle/x")
    finally:
        agent.terminate()
        agent.communicate()
    git(forge.bare, "verify-commit", forge.refs()["refs/heads/bottle/x"], **trust)
    assert git(forge.bare, "cat-file", "-p", "bottle/x").count("BEGIN SSH SIGNATURE") == 1


@pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg is installed")
def test_gpg_signs_as_it_does_for_the_operators_own_commits(
    make: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' own directories are too long for a socket of gpg's agent.
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as place:
        monkeypatch.setenv("GNUPGHOME", place)
        argv = ["gpg", "--batch", "--passphrase", "", "--pinentry-mode=loopback", "--quick-gen-key", WHO, "ed25519", "sign"]
        try:
            subprocess.run(argv, check=True, capture_output=True)
            settings(home)
            forge = make()
            forge.commit(branch="bottle/x")
            done = forge.run("push", "origin", "bottle/x")
            assert done.returncode == 0, done.stderr
            git(forge.bare, "verify-commit", forge.refs()["refs/heads/bottle/x"], GNUPGHOME=place)
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], check=True, capture_output=True)


def test_without_a_key_nothing_is_pushed_and_the_bottle_hears_why(make: Make, home: Path) -> None:
    settings(home, "gpg.format=ssh", f"user.signingKey={home}/none")
    forge = make()
    forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert "remote:   the new commits could not be signed, so none is pushed: ssh-keygen did not sign" in done.stderr
    assert forge.refs().keys() == {"refs/heads/main"}
    assert forge.remote.pushes() == []
    assert "could not be signed" in forge.decisions()[-1]["detail"]


def test_a_tag_does_not_come_with_commits_that_get_other_ids(make: Make, home: Path) -> None:
    by_ssh(home)
    forge = make(push=("refs/heads/bottle/*", "refs/tags/v*"))
    forge.do("tag", "-a", "-m", "old", "v0")
    forge.do("push", "origin", "v0")  # of what the remote has
    forge.commit(branch="bottle/x")
    forge.do("tag", "-a", "-m", "new", "v1")
    done = forge.run("push", "origin", "bottle/x", "v1")
    assert "a tag cannot come with them" in done.stderr
    assert forge.refs().keys() == {"refs/heads/main", "refs/tags/v0"}


# Lets every push through at once, with commits that it claims were made anew.
TAKEN_OVER = """
import json, socket
from claude_bottle.model import judging
sock, frames = socket.socket(fileno=json.loads(sys.argv[1])["line"]), judging.Frames()
def until(kind):
    while data := sock.recv(65536):
        for one, payload in frames.feed(data):
            if one == kind:
                return payload
new = judging.said(until(judging.JOB))["commands"][0]["new"]
sock.sendall(judging.frame(judging.GO))
until(judging.PACK_END)
sock.sendall(judging.saying(judging.VERDICT, allow=True, size=0, made=MADE) + judging.frame(judging.JUDGED_END))
sock.recv(1)
"""


@pytest.mark.parametrize("made", [f'{{new: "{ZERO}"}}', "[new]", '{new: "main"}'], ids=["deletes", "list", "name"])
def test_a_judge_that_was_taken_over_makes_no_other_command_of_a_push(
    make: Make, home: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    by_ssh(home)
    forge = make()
    git(forge.bare, "branch", "bottle/x", "main")
    before = forge.refs()
    forge.do("fetch", "--quiet", "origin")
    forge.commit(branch="bottle/x")
    start = judges._START.partition("from ")[0]
    monkeypatch.setattr(judges, "_START", f"{start}\n{TAKEN_OVER.replace('MADE', made)}")
    assert "the judge of pushes failed" in forge.run("push", "origin", "bottle/x").stderr
    assert forge.refs() == before
