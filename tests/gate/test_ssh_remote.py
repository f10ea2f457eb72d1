"""Remotes that speak ssh alone: a real git reaches a real sshd through the gate, with keys that neither of them sees."""

from __future__ import annotations

import gzip
import json
import os
import select
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.body import BadBody
from claude_bottle.gate.ca import Authority
from claude_bottle.gate.head import parse_request
from claude_bottle.gate.judge_line import carrier_wish
from claude_bottle.harness.git_env import git_environment
from claude_bottle.keeper import carrier, carriers
from claude_bottle.model.ssh_remote import SshRemote
from tests.bench_of_judges import Bench
from tests.gate.forge import Forge, git, rule
from tests.git_remote import HOST, at_each_update
from tests.ssh_server import USER, SshServer, key, needs_sshd
from tests.waiting import SECONDS, eventually

pytestmark = needs_sshd
Make = Callable[..., Forge]
REFS = "GET /acme/shop.git/info/refs?service=git-upload-pack HTTP/1.1"
PACK = f"POST /acme/shop.git/git-upload-pack HTTP/1.1\r\nContent-Length: {1 << 30}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    made = SshServer(tmp_path / "sshd")
    made.agent()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def make(tmp_path: Path, authority: Authority, server: SshServer) -> Iterator[Make]:
    made: list[Forge] = []

    def build(*, ssh: dict[str, Any] | None = None, commits: int = 1, **more: Any) -> Forge:
        remote = SshRemote(USER, directory=f"{tmp_path}/remote/", **ssh or {})
        forge = Forge(tmp_path, authority, rule(credential=None, ssh=remote, **more), commits=commits)
        made.append(forge)
        forge.env |= git_environment([rule(credential=None, ssh=remote)])
        return forge

    yield build
    for one in made:
        assert one.remote.arrived == []  # nobody has spoken https
        one.close()


def url() -> str:
    return f"{USER}@{HOST}:acme/shop.git"


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_a_bottle_clones_fetches_and_pushes_by_ssh_in_every_protocol_version(
    make: Make, server: SshServer, protocol: str
) -> None:
    forge = make(commits=30)
    forge.env |= {"GIT_CONFIG_COUNT": str(int(forge.env["GIT_CONFIG_COUNT"]) + 1)}
    number = int(forge.env["GIT_CONFIG_COUNT"]) - 1
    forge.env |= {f"GIT_CONFIG_KEY_{number}": "protocol.version", f"GIT_CONFIG_VALUE_{number}": protocol}
    forge.clone(url=url())
    new = forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new
    there = forge.place / "seed"
    git(forge.place, "clone", "--quiet", str(forge.bare), str(there))
    git(there, "commit", "--quiet", "--allow-empty", "-m", "another's")
    git(there, "push", "--quiet", "origin", "HEAD:main")
    # What it has itself makes a question long enough to be compressed, of several rounds.
    many = "".join(f"commit refs/heads/many\ncommitter A <a@b.test> {count} +0000\ndata 1\nx\n" for count in range(200))
    forge.do("fast-import", "--quiet", input=many)
    forge.do("fetch", "--quiet", "origin")
    assert forge.do("rev-parse", "origin/main") == git(there, "rev-parse", "HEAD")
    assert {line.split()[0] for line in server.asked()} == {"git-upload-pack", "git-receive-pack"}
    seen = json.dumps([forge.events(), forge.heard, forge.env])
    for secret in ("ssh-ed25519", str(server.home), server.environment["SSH_AUTH_SOCK"]):
        assert secret not in seen


@pytest.mark.parametrize("words", [("--depth=1",), ("--filter=blob:none",)], ids=["shallow", "partial"])
def test_a_shallow_and_a_partial_clone_work_by_ssh(make: Make, words: tuple[str, ...]) -> None:
    forge = make(commits=3)
    git(forge.bare, "config", "uploadpack.allowFilter", "true")
    git(forge.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    forge.clone(*words, url=url())
    assert (forge.agent / "README").read_text() == "hello 2\n"
    new = forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new


def test_a_key_that_the_manifest_names_is_used_alone(make: Make, server: SshServer, tmp_path: Path) -> None:
    named = tmp_path / "deploy"
    public = key(named)
    forge = make(ssh={"key": str(named)})
    assert "Permission denied" in forge.run("clone", url(), "x").stderr  # what the agent holds is not asked for
    with (server.place / "authorized").open("a") as file:
        file.write(public + "\n")
    forge.clone(url=url())


def test_a_named_key_that_is_not_there_is_not_replaced_by_the_usual_ones(server: SshServer) -> None:
    *argv, host = carriers.command("ssh", HOST, SshRemote(USER, key="/nonexistent/deploy"))
    said = subprocess.run([*argv[:-1], "-G", host], capture_output=True, text=True, check=True).stdout
    used = [line for line in said.splitlines() if line.startswith("identityfile ")]
    assert used == ["identityfile /nonexistent/deploy"]


def test_an_unknown_host_is_not_spoken_to_and_both_sides_hear_why(make: Make, server: SshServer) -> None:
    server.knows()
    forge = make()
    refused(forge, server, "its host key is not among the operator's known hosts")


def test_a_host_with_another_key_is_not_spoken_to_and_both_sides_hear_why(
    make: Make, server: SshServer, tmp_path: Path
) -> None:
    forge = make()
    forge.clone(url=url())
    forge.commit(branch="bottle/x")
    server.knows(key(tmp_path / "another"))
    before = len(server.asked())
    refused(forge, server, "its host key is not the one among the operator's known hosts")
    done = forge.run("push", "origin", "bottle/x")
    assert "its host key is not the one among the operator's known hosts" in done.stderr
    assert len(server.asked()) == before


def refused(forge: Forge, server: SshServer, said: str) -> None:
    before = len(server.asked())
    done = forge.run("clone", url(), "elsewhere")
    assert done.returncode != 0
    assert f"remote: claude-bottle: upstream_failed: the remote is not reached by ssh: {said}" in done.stderr
    traffic = [one["data"] for one in forge.events() if one["kind"] == "traffic"]
    assert said in traffic[-1]["why"]
    assert len(server.asked()) == before


def test_nothing_that_the_operators_configuration_allows_elsewhere_is_done_here(
    make: Make, server: SshServer, tmp_path: Path
) -> None:
    config = server.home / ".ssh" / "config"
    config.write_text(config.read_text() + f"""  ForwardAgent yes
  StrictHostKeyChecking no
  PermitLocalCommand yes
  LocalCommand exit 1
  RemoteCommand true
  RequestTTY force
  ControlMaster auto
  ControlPath {tmp_path}/control
  LocalForward {tmp_path}/forwarded 127.0.0.1:1
""")
    forge = make()
    forge.clone(url=url())
    assert server.lent() == []
    assert not (tmp_path / "control").exists()
    assert not (tmp_path / "forwarded").exists()
    server.knows()
    refused(forge, server, "its host key is not among the operator's known hosts")


def test_a_question_that_unpacks_to_more_than_a_question_is_not_passed_on() -> None:
    request = parse_request(b"POST /acme/shop.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n")
    bomb = gzip.compress(bytes(65 << 20), 9)
    with pytest.raises(BadBody, match="too long"):
        deque(carrier._plain(request, iter([bomb])), maxlen=0)


def test_a_remote_that_is_not_there_is_told_in_its_own_words(make: Make) -> None:
    forge = make()
    (forge.place / "remote" / "acme" / "shop.git").rename(forge.place / "away")
    assert "does not appear to be a git repository" in forge.run("clone", url(), "elsewhere").stderr


def test_a_push_that_the_remote_turns_down_is_told_as_such(make: Make) -> None:
    forge = make()
    forge.clone(url=url())
    at_each_update(forge.bare, 'printf "no \\033[2J\\n" >&2; exit 1')
    forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert "hook declined" in done.stderr
    assert "remote: no \\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr.replace("\x1b[K", "")


@pytest.fixture
def bench(tmp_path: Path, server: SshServer) -> Iterator[Bench]:
    about: dict[str, Any] = {"credential": None, "push": (), "ssh": SshRemote(USER, directory="/nowhere/")}
    made = Bench(tmp_path / "judges", (rule(repositories=("acme/shop", "-oProxyCommand/open"), **about),))
    yield made
    made.close()


def test_a_gate_that_was_taken_over_reaches_no_remote_but_those_that_rules_name(bench: Bench, server: SshServer) -> None:
    named, line = SshRemote(USER, directory="/nowhere/"), bench.line
    for number, (host, ssh) in enumerate([("evil.test", named), (HOST, SshRemote("root2")), (HOST, SshRemote(USER, 2222))]):
        no = f"{number} no rule that this bottle was started with names that remote"
        assert answer(line, b"%d " % number + carrier_wish(host, 443, ssh)) == (no, None)
    assert answer(line, b"7 ssh {}") == ("7 that is no remote", None)
    for path in (
        "acme/other.git/info/refs?service=git-upload-pack", "acme/shop.git/info/refs?service=git-receive-pack",
        "-oProxyCommand/open.git/info/refs?service=git-upload-pack", "etc/passwd", "junk", "",
    ):  # fmt: skip
        said, sock = answer(line, b"9 " + carrier_wish(HOST, 443, named))
        assert said == "9 " and sock is not None
        with sock:
            sock.sendall(f"GET /{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert b"HTTP/1.1 502" in sock.recv(65536)
    assert server.asked() == []


def answer(line: socket.socket, wish: bytes) -> tuple[str, socket.socket | None]:
    line.settimeout(SECONDS)
    line.send(wish)
    said, descriptors, _, _ = socket.recv_fds(line, 4096, 1)
    socks = [socket.socket(fileno=one) for one in descriptors]
    for sock in socks:
        sock.settimeout(SECONDS)
    return said.decode(), socks[0] if socks else None


def test_a_carrier_may_write_nothing(bench: Bench, server: SshServer, tmp_path: Path) -> None:
    config = server.home / ".ssh" / "config"
    config.write_text(config.read_text() + f"  ProxyCommand /bin/sh -c 'echo x > {tmp_path}/written; exec sleep 1000.25'\n")
    with carried(bench):
        eventually(lambda: started("sleep 1000.25"))
        assert not (tmp_path / "written").exists()
    eventually(lambda: not started("sleep 1000.25"))


@pytest.mark.parametrize("asked", [REFS, PACK], ids=["refs", "pack"])
def test_a_carrier_ends_with_its_gate_however_long_the_remote_would_take(
    bench: Bench, server: SshServer, tmp_path: Path, asked: str
) -> None:
    begun, held = tmp_path / "begun", tmp_path / "held"
    os.mkfifo(held)
    (server.place / "record").write_text(f"#!/bin/sh\ntouch {begun}\nexec cat {held}\n")
    try:
        with carried(bench, asked) as sock:
            eventually(begun.exists)
            while asked == PACK and select.select([], [sock], [], 0.5)[1]:  # until all on the way to it are full
                sock.send(bytes(1 << 16))
            assert started("ssh")
        eventually(lambda: not started("ssh"))
    finally:
        os.close(os.open(held, os.O_RDWR))  # the remote ends, too


def carried(bench: Bench, asked: str = REFS) -> socket.socket:
    """A gate's line to a carrier that got this head of a request."""
    _, sock = answer(bench.line, b"1 " + carrier_wish(HOST, 443, SshRemote(USER, directory="/nowhere/")))
    assert sock is not None
    sock.sendall(f"{asked}\r\nHost: {HOST}\r\n\r\n".encode())
    return sock


def started(command: str) -> list[int]:
    """Processes below this one that run it: a program, with all of its arguments or with any."""
    found, known = [], {os.getpid()}
    for _ in range(5):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if above in known:
                known.add(int(entry.name))
                if command.encode() in (argv[0].rpartition(b"/")[2], b" ".join(argv).rstrip()):
                    found.append(int(entry.name))
    return sorted(set(found))
