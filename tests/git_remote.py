"""A real git server on loopback: git-http-backend behind TLS, which records every request that reached it.

Repositories lie in a directory of the test. Reading is free unless `private`; pushing needs the password `TOKEN`. Its
certificate is of a throw-away authority.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from claude_bottle.testing.throwaway_ca import ThrowawayCA

TOKEN = "ghp-the-operators-git-token-93c1"
HOST = "git.bottle.test"
CLEAN = {
    "PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@bottle.test", "GIT_COMMITTER_NAME": "A", "GIT_TERMINAL_PROMPT": "0",
    "GIT_COMMITTER_EMAIL": "a@bottle.test", "GIT_ALLOW_PROTOCOL": "https:file", "HOME": "/nonexistent",
}  # fmt: skip


@dataclass
class Arrived:
    """One request that reached the server."""

    method: str
    path: str
    authorization: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def git(place: Path, *words: str, check: bool = True, **env: str) -> str:
    """A git command in `place`, with nothing of this machine's configuration; its stdout."""
    done = subprocess.run(["git", "-C", str(place), *words], env=CLEAN | env, capture_output=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"git {words}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


class Repositories:
    """What a git server serves: `place` gets the repositories. `serve` answers on any connection."""

    def __init__(self, place: Path, *, private: bool = False) -> None:
        self.place, self.private = place, private
        place.mkdir(parents=True, exist_ok=True)
        self.arrived: list[Arrived] = []
        self.answers: dict[str, bytes] = {}
        """Bodies by the end of the path, in place of what git says."""
        self.before: dict[str, Callable[[], object]] = {}
        """What to do before a request is served, by the end of its path."""
        self.token = TOKEN
        self.environment: dict[str, str] = {}
        self.handler = _handler(self)

    def serve(self, sock: socket.socket) -> None:
        """Every request on one connection."""
        self.handler(sock, ("", 0), None)  # type: ignore[arg-type]

    def repository(self, name: str = "acme/shop", *, commits: int = 1) -> Path:
        """A bare repository with `commits` on main."""
        bare = self.place / f"{name}.git"
        bare.parent.mkdir(parents=True, exist_ok=True)
        git(self.place, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        if commits:
            seed = self.place / f"seed-{name.replace('/', '-')}"
            git(self.place, "init", "--quiet", "--initial-branch=main", str(seed))
            for number in range(commits):
                (seed / "README").write_text(f"hello {number}\n")
                git(seed, "add", ".")
                git(seed, "commit", "--quiet", "-m", f"commit {number}")
            git(seed, "push", "--quiet", str(bare), "main")
            shutil.rmtree(seed)
        return bare

    def refs(self, name: str = "acme/shop") -> dict[str, str]:
        said = git(self.place / f"{name}.git", "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ", 1) for line in said.splitlines())  # type: ignore[misc]

    def pushes(self) -> list[Arrived]:
        """The pushes that reached it, with their commands and pack."""
        return [one for one in self.arrived if one.method == "POST" and one.path.endswith("/git-receive-pack")]


class GitRemote(Repositories):
    """The same with a server of its own; `port` is where it listens on loopback."""

    def __init__(self, place: Path, *hosts: str, private: bool = False) -> None:
        super().__init__(place, private=private)
        self.authority = ThrowawayCA()
        self.ca_file = place / "authority.pem"
        self.ca_file.write_text(self.authority.pem)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self._server.daemon_threads = True
        context = self.authority.server_context(hosts or (HOST,), place)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(remote: Repositories) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body would wait for its head's acknowledgement, which comes 40 ms later

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self._body()
            said = self.headers.get("authorization", "")
            headers = {name.lower(): value for name, value in self.headers.items()}
            remote.arrived.append(Arrived(self.command, self.path, said, body, headers))
            path, _, query = self.path.partition("?")
            writes = "git-receive-pack" in self.path
            right = said == "Basic " + base64.b64encode(f"x-access-token:{remote.token}".encode()).decode()
            if (writes or remote.private) and not right:
                self._send(401, {"WWW-Authenticate": 'Basic realm="git"', "Content-Type": "text/plain"}, b"sign in\n")
                return
            for end, act in remote.before.items():
                if self.path.endswith(end):
                    act()
            for end, answer in remote.answers.items():
                if self.path.endswith(end):
                    kind = f"{query.partition('=')[2]}-advertisement" if query else f"{path.rpartition('/')[2]}-result"
                    self._send(200, {"Content-Type": f"application/x-{kind}"}, answer)
                    return
            self._cgi(path, query, body)

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("transfer-encoding", ""):
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def _cgi(self, path: str, query: str, body: bytes) -> None:
            env = CLEAN | {
                "GIT_PROJECT_ROOT": str(remote.place), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("content-type", ""),
                "REMOTE_USER": "operator",
                "CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "REMOTE_ADDR": "127.0.0.1", "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            } | remote.environment  # fmt: skip
            done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self._send(int(fields.pop("Status", "200").split()[0]), fields, content)

        def _send(self, status: int, fields: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def at_each_update(bare: Path, script: str) -> None:
    """Have a repository run these lines of sh for each ref that is pushed to it; githooks(5), update."""
    hook = bare / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
