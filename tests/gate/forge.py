"""A forge, a gate in front of it, and somebody with a real git who reaches the forge through that gate alone."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

from claude_bottle.gate import control
from claude_bottle.gate.ca import Authority
from claude_bottle.gate.config import Upstream
from claude_bottle.gate.decide import GateState
from claude_bottle.gate.inject import Injector
from claude_bottle.gate.tls import client_context
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.policy import Policy, Rule
from tests.bench_of_judges import Bench
from tests.gate.conftest import RunningGate, read_response
from tests.git_remote import CLEAN, HOST, TOKEN, GitRemote, git
from tests.waiting import SECONDS, eventually

NAME = "github"
URL = f"https://{HOST}/acme/shop.git"


def rule(*, push: tuple[str, ...] = ("refs/heads/bottle/*",), credential: str | None = NAME, **more: Any) -> Rule:
    grant = GitGrant(more.pop("repositories", ("acme/shop",)), push=push, **more)
    return Rule(HOST, credential=credential, git=grant)


def credential() -> BoundCredential:
    spec = CredentialSpec(NAME, "env", "GITHUB_TOKEN", "GITHUB_TOKEN", "Authorization")
    return BoundCredential(spec, "ghp-placeholder-of-the-bottle-0123456789", Secret(TOKEN), ((HOST, 443),))


class Forge:
    """`agent` is a clone in which `git` works as in a bottle; `remote` the server, which has acme/shop."""

    def __init__(
        self, place: Path, authority: Authority, *rules: Rule, private: bool = False, judges: bool = True, **remote: Any
    ) -> None:
        self.remote = GitRemote(place / "remote", private=private)
        self.bare = self.remote.repository(**remote)
        context = client_context(self.remote.authority.pem, system=False)
        state = GateState(Policy(rules or (rule(),)), lambda origin: context, authority, Injector((credential(),)))
        state.judges = judges
        self.bench = Bench(place / "judges", rules)
        upstreams = {(HOST, 443): Upstream("127.0.0.1", self.remote.port)}
        self.gate = RunningGate(state, upstreams, _nobody, ("proxy",), self.bench.line if judges else None)
        self.place, self.agent, self.authority = place, place / "agent", authority
        trusted = place / "bottle-ca.pem"
        trusted.write_text(authority.pem)
        self.env = CLEAN | {
            "https_proxy": f"http://127.0.0.1:{self.gate.ports['proxy']}", "GIT_SSL_CAINFO": str(trusted), "HOME": str(place),
        }  # fmt: skip
        self.heard: list[dict[str, Any]] = []
        """What the gate has told its keeper."""
        self.asked: list[dict[str, Any]] = []
        """Requests, each of which has been given the id q-N and waits."""
        self.answer = "submitted"
        threading.Thread(target=self._keep, daemon=True).start()

    def run(
        self, *words: str, cwd: Path | None = None, input: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(cwd or (self.agent if self.agent.is_dir() else self.place)), *words], env=self.env | env,
            input=input, capture_output=True, text=True, errors="replace", check=False, timeout=2 * SECONDS,
        )  # fmt: skip

    def do(self, *words: str, input: str | None = None, **env: str) -> str:
        done = self.run(*words, input=input, **env)
        if done.returncode != 0:
            raise AssertionError(f"git {words}: {done.stderr}")
        return done.stdout.strip()

    def clone(self, *words: str, url: str = URL) -> None:
        self.do("clone", "--quiet", *words, url, str(self.agent))

    def commit(self, name: str = "work", content: str | bytes = "work\n", *, message: str = "work", branch: str = "") -> str:
        """One more commit of one file; its id."""
        if branch:
            self.do("checkout", "--quiet", "-B", branch)
        path = self.agent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.do("add", "--all", "--force", ".")
        self.do("commit", "--quiet", "--allow-empty", "-m", message)
        return self.do("rev-parse", "HEAD")

    def pack(self, *revisions: str) -> bytes:
        """What git's own client would send for these."""
        argv = ["git", "-C", str(self.agent), "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q"]
        asked = "".join(f"{one}\n" for one in revisions).encode()
        return subprocess.run(argv, input=asked, env=self.env, capture_output=True, check=True).stdout

    def post(self, commands: bytes, pack: bytes, *, headers: list[str] | None = None) -> bytes:
        """A push by hand: the whole answer."""
        body = commands + b"0000" + pack
        kinds = ["Content-Type: application/x-git-receive-pack-request"] if headers is None else headers
        lines = ["POST /acme/shop.git/git-receive-pack HTTP/1.1", f"Host: {HOST}", *kinds]
        lines += [f"Content-Length: {len(body)}", "", ""]
        sock = self.gate.tunnel(ssl.create_default_context(cadata=self.authority.pem), HOST)
        with sock:
            sock.sendall("\r\n".join(lines).encode() + body)
            return read_response(sock)

    def refs(self) -> dict[str, str]:
        return self.remote.refs()

    def decisions(self) -> list[dict[str, Any]]:
        """What the gate has told its journal so far."""
        return [one["data"] for one in self.events() if one["kind"] == "decision"]

    def events(self) -> list[dict[str, Any]]:
        """The same, of every kind. Whoever has heard the gate's answer to a message has heard what it said before."""
        mark = os.urandom(8).hex()
        self.gate.keeper.sendall(control.encode(mark))
        eventually(lambda: any(mark in str(one.get("what")) for one in list(self.heard) if one["op"] == "fault"))
        return [one["event"] for one in list(self.heard) if one["op"] == "event"]

    def _keep(self) -> None:
        """The keeper's part: hear, and take every request in."""
        decoder = control.Decoder()
        try:
            while data := self.gate.keeper.recv(65536):
                for message in decoder.feed(data):
                    self.heard.append(message)
                    if message["op"] == "ask":
                        self.asked.append(message)
                        said = {"ticket": message["ticket"], "id": f"q-{len(self.asked)}", "state": self.answer}
                        self.gate.keeper.sendall(control.encode("request", **said, text="no, said the operator"))
        except OSError:
            pass

    def close(self) -> None:
        self.gate.keeper.shutdown(socket.SHUT_RDWR)  # whoever reads it stops
        self.gate.close()
        self.bench.close()
        self.remote.close()


def _nobody(host: str, port: int) -> list[Any]:
    if host == "127.0.0.1":
        return [(2, (host, port))]
    raise OSError("nobody is asked")


__all__ = ["Forge", "git", "rule"]
