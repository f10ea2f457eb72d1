"""Git through the gate, with real client and server: what is granted works as it is, the rest is refused in words."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.ca import Authority
from claude_bottle.harness.git_env import git_environment
from claude_bottle.model.policy import Rule
from tests.gate.conftest import read_response
from tests.gate.forge import URL, Forge, rule
from tests.git_remote import HOST, TOKEN

Make = Callable[..., Forge]


@pytest.fixture
def make(tmp_path: Path, authority: Authority) -> Iterator[Make]:
    made: list[Forge] = []

    def build(*rules: Rule, **more: Any) -> Forge:
        made.append(Forge(tmp_path, authority, *rules, **more))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_a_granted_repository_is_cloned_and_fetched_in_every_protocol_version(make: Make, protocol: str) -> None:
    forge = make()
    forge.clone("-c", f"protocol.version={protocol}")
    assert (forge.agent / "README").read_text() == "hello 0\n"
    forge.do("-c", f"protocol.version={protocol}", "fetch", "origin")
    assert {one["allow"] for one in forge.decisions()} == {True}


def test_the_credential_is_put_in_where_the_bottle_sends_none(make: Make) -> None:
    forge = make(private=True)
    forge.clone()
    assert all(TOKEN not in one.body.decode(errors="replace") for one in forge.remote.arrived)
    assert {one.authorization[:6] for one in forge.remote.arrived} == {"Basic "}


@pytest.mark.parametrize("url", [f"git@{HOST}:acme/shop.git", f"ssh://git@{HOST}/acme/shop", f"https://{HOST}/acme/shop"])
def test_every_kind_of_url_of_a_granted_host_works(make: Make, url: str) -> None:
    forge = make()
    forge.env |= git_environment([rule()])
    forge.clone(url=url)
    assert forge.do("remote", "get-url", "origin") == f"https://{HOST}/acme/shop{'.git' if url.endswith('.git') else ''}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clone", f"https://{HOST}/acme/other.git", "x"], "acme/other may not be fetched from here"),
        (["clone", f"https://{HOST}/acme/shop.git/../other.git", "x"], "403"),
        (["push", URL, "HEAD:refs/heads/bottle/x"], "may not be pushed to here"),
    ],
)
def test_what_is_not_granted_is_refused_before_the_server_hears_of_it(make: Make, words: list[str], said: str) -> None:
    forge = make(rule(push=()))
    forge.clone()
    before = len(forge.remote.arrived)
    done = forge.run(*words)
    assert done.returncode != 0
    assert said in done.stderr or "error: 4" in done.stderr
    assert len(forge.remote.arrived) == before


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/acme/shop.git/info/refs", "dumb protocol"),
        ("GET", "/acme/shop.git/objects/info/packs", "dumb protocol"),
        ("GET", "/acme/shop.git/HEAD", "dumb protocol"),
        ("POST", "/acme/shop.git/info/lfs/objects/batch", "LFS"),
        ("GET", "/acme/shop.git/info/lfs/locks", "LFS"),
        ("POST", "/acme/shop.git/git-upload-archive", "archive"),
        ("GET", "/acme/shop.git/info/refs?service=git-upload-archive", "archive"),
        ("GET", "/acme/shop.git/info/refs?service=git%2dreceive-pack", "not a request of git"),
        ("GET", "/acme/shop.git/info/refs?service=git-upload-pack&service=git-receive-pack", "not a request of git"),
        ("POST", "/acme/shop.git/git-receive-pack?x=1", "not a request of git"),
        ("POST", "/acme/shop.git/GIT-RECEIVE-PACK", "not a request of git"),
        ("POST", "/acme%2Fshop.git/git-receive-pack", "not a request of git"),
        ("PUT", "/acme/shop.git/git-receive-pack", "not a request of git"),
        ("POST", "/acme/shop.git/git-receive-pack;x", "not a request of git"),
        ("POST", "/acme/other.git/git-receive-pack", "acme/other may not be pushed to"),
    ],
)
def test_other_ways_to_git_are_refused_in_words_whatever_else_is_granted(
    make: Make, bottle_trust: ssl.SSLContext, method: str, path: str, said: str
) -> None:
    forge = make(rule(credential=None), Rule(HOST))
    sock = forge.gate.tunnel(bottle_trust, HOST)
    sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode())
    answer = read_response(sock).decode()
    assert answer.startswith("HTTP/1.1 403")
    assert said in answer
    assert forge.remote.arrived == []


def test_a_fetch_that_an_ordinary_rule_grants_still_passes_beside_rules_for_git(make: Make) -> None:
    forge = make(rule(repositories=("acme/shop",)), Rule(HOST, paths=("/public/**",)))
    forge.remote.repository("public/tool")
    forge.clone(url=f"https://{HOST}/public/tool.git")
    done = forge.run("push", "origin", "HEAD:refs/heads/bottle/x")
    assert "public/tool may not be pushed to here" in done.stderr


def test_case_91_progress_text_of_a_fetch_is_calmed_on_its_way_down(make: Make) -> None:
    forge = make()
    hook = forge.place / "pack-objects"
    hook.write_text('#!/bin/sh\nprintf "evil \\033]52;c;AAAA\\007 \\302\\233x \\033[31m\\n" >&2\nexec "$@"\n')
    hook.chmod(0o755)
    forge.remote.environment = {"GIT_CONFIG_GLOBAL": str(forge.place / "global")}
    (forge.place / "global").write_text(f"[uploadpack]\npackObjectsHook = {hook}\n")
    done = forge.run("clone", URL, str(forge.agent))
    assert "evil ?]52" in done.stderr
    assert "\x1b" not in done.stderr.replace("\x1b[K", "")
    assert "\x9b" not in done.stderr
