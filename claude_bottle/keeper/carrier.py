"""One request of git's smart HTTP, carried to a remote that speaks ssh: HTTP on the line to the gate, ssh on the other side.

A fresh process per request, which the keeper starts: it holds no secret but what the operator's ssh finds for itself, and
shuts itself in before the first byte: it may read the system and ~/.ssh, write nothing, run system programs, and bind no
port. Over ssh git keeps one connection for what smart HTTP does in two requests: each of them begins with what the remote
has, which goes to the gate when that was asked for and is passed over when it was not (gitprotocol-pack(5), -http(5)).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import select
import socket
import sys
import threading
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from claude_bottle import proc
from claude_bottle.backend import namespaces
from claude_bottle.gate import confine, landlock
from claude_bottle.gate.body import BadBody, chunk, reader
from claude_bottle.gate.carried import WHY
from claude_bottle.gate.head import BadHead, Request, find_end, parse_request, write_head
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.git_request import FETCH, PUSH, REFS, GitRequest, git_request
from claude_bottle.model.pktline import FLUSH, BadPkt, length, line
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from claude_bottle.proc import Popen

_LIMITS = {resource.RLIMIT_FSIZE: 1 << 20, resource.RLIMIT_NOFILE: 256, resource.RLIMIT_CORE: 0}
_PROGRAMS = ("/usr", "/bin", "/lib", "/lib64", "/nix/store")
_ETC = ("/etc/passwd", "/etc/group", "/etc/ssh", "/etc/crypto-policies", "/etc/gss", "/etc/krb5.conf")
_PIECE = 64 << 10
_MAX_HEAD = 64 << 10
# What a remote lists, and a client's question once it is unpacked: more refs than anybody has.
_MAX_REFS, _MAX_ASKED = 256 << 20, 64 << 20
_PROTOCOL = re.compile(r"version=[012]")
_FAILED = 255  # of ssh itself
_KNOWN = (
    (b"IDENTIFICATION HAS CHANGED", "its host key is not the one among the operator's known hosts: it may be somebody else"),
    (b"Host key verification failed", "its host key is not among the operator's known hosts; once it is, this works"),
)


class Unable(Exception):
    """Why there is no answer of the remote's, in words for both sides."""


def main() -> None:
    said = json.loads(sys.argv[1])
    sock = socket.socket(fileno=said["line"])
    os.set_inheritable(sock.fileno(), False)
    shut_in([*said["readable"], *_ETC], [sys.executable, said["argv"][0]])
    grants = [GitGrant.from_dict(one) for one in said["grants"]]
    Carrier(sock, said["argv"], grants, said["directory"]).serve()


def shut_in(readable: list[str], programs: list[str]) -> None:
    """Keep nothing but what the module's words say, as far as the kernel can refuse the rest."""
    for limit, most in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (value, value))
    libc = ctypes.CDLL(None, use_errno=True)
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    namespaces.drop_capabilities()
    homes = {os.path.dirname(os.path.realpath(program)) for program in programs}
    landlock.restrict(libc, [*confine.readable(), *readable], executable=[*_PROGRAMS, *homes], writable=["/dev/null"])


class Carrier:
    """`argv`: the ssh that leads to the remote; `grants`: what may be asked of it; `directory`: before every path."""

    def __init__(self, sock: socket.socket, argv: list[str], grants: list[GitGrant], directory: str) -> None:
        self._sock, self._argv, self._grants, self._directory = sock, argv, grants, directory
        self._said = os.memfd_create("said")
        self._begun = False

    def serve(self) -> None:
        """The one request, and its answer."""
        try:
            request, rest = self._request()
            asked, path = self._allowed(request)
            git = self._ssh(asked, path, request)
            threading.Thread(target=self._ask, args=(git, request, rest), daemon=True).start()
            threading.Thread(target=self._end_with_gate, args=(git,), daemon=True).start()
            try:
                if asked.step == REFS:
                    self._refs(git, asked)
                else:
                    self._pack(git, asked)
            finally:
                git.kill()
        except (Unable, BadHead, BadPkt) as why:
            if not self._begun:  # else it ends in the middle, which says enough
                words = printable(str(why)).encode("ascii", "replace")[:1000]
                self._sock.sendall(write_head(b"HTTP/1.1 502 Bad Gateway\r\n", [(WHY, words), (b"content-length", b"0")]))
        except OSError:
            pass  # the gate has left

    def _request(self) -> tuple[Request, bytes]:
        """The head, and what came of the body."""
        data = bytearray()
        while (end := find_end(data, 0)) is None:
            piece = self._sock.recv(_PIECE)
            data += piece
            if not piece or len(data) > _MAX_HEAD:
                raise Unable("not a request")
        return parse_request(bytes(data[:end])), bytes(data[end:])

    def _allowed(self, request: Request) -> tuple[GitRequest, str]:
        """What is asked for, and the repository's path as it was written."""
        target, mark, query = request.target.decode("ascii", "replace").partition("?")
        asked = git_request(request.method, target, query if mark else None)
        granted = asked is not None and asked.kind in (FETCH, PUSH) and any(
            grant.names(asked.repository) and (grant.push or (asked.kind == FETCH and grant.fetch)) for grant in self._grants
        )
        path = target.removesuffix("/info/refs").rpartition("/git-")[0] if asked and asked.step != REFS else (
            target.removesuffix("/info/refs"))  # fmt: skip
        if asked is None or not granted or path.startswith("/-"):
            raise Unable("that repository is not granted")
        return asked, self._directory + path.removeprefix("/")

    def _ssh(self, asked: GitRequest, path: str, request: Request) -> Popen[bytes]:
        service = "git-upload-pack" if asked.kind == FETCH else "git-receive-pack"
        protocol = next((value.decode("ascii", "replace") for name, value in request.headers if name == b"git-protocol"), "")
        env = {name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK", "PATH", "LC_ALL") if name in os.environ}
        env |= {"GIT_PROTOCOL": protocol} if _PROTOCOL.fullmatch(protocol) else {}
        # The path has none but plain characters (model.git_request), so it needs no more quoting than this.
        return proc.popen([*self._argv, f"{service} '{path}'"], env=env, cwd="/", stdin=proc.PIPE, stdout=proc.PIPE,
                          stderr=self._said)  # fmt: skip

    def _refs(self, git: Popen[bytes], asked: GitRequest) -> None:
        service = b"git-upload-pack" if asked.kind == FETCH else b"git-receive-pack"
        listed = bytearray()
        for piece in self._listed(git):
            if not self._begun:
                self._begin(b"application/x-%s-advertisement" % service)
                listed += b"" if piece.startswith(b"000eversion 2\n") else line(b"# service=%s\n" % service) + FLUSH
            listed += piece
            if len(listed) > _PIECE:
                self._send(bytes(listed))
                listed.clear()
        self._send(bytes(listed))
        self._send(b"")

    def _pack(self, git: Popen[bytes], asked: GitRequest) -> None:
        service = b"git-upload-pack" if asked.kind == FETCH else b"git-receive-pack"
        for _ in self._listed(git):
            pass
        out = _output(git)
        while piece := out.read1(_PIECE):  # type: ignore[attr-defined]
            if not self._begun:
                self._begin(b"application/x-%s-result" % service)
            self._send(piece)
        code = git.wait()
        if code == _FAILED or (code != 0 and not self._begun and asked.kind == PUSH):
            raise Unable(self._why())
        if not self._begun:
            self._begin(b"application/x-%s-result" % service)
        self._send(b"")

    def _ask(self, git: Popen[bytes], request: Request, rest: bytes) -> None:
        """In a thread of its own: the request's body, if any, to the remote."""
        try:
            for piece in _plain(request, self._body(request, rest)):
                _input(git).write(piece)
            _input(git).close()
        except (OSError, ValueError, BadBody):
            git.kill()

    def _end_with_gate(self, git: Popen[bytes]) -> None:
        """In a thread of its own: a gate that leaves ends the ssh, whoever waits for whom."""
        leaving = select.poll()
        leaving.register(self._sock, select.POLLRDHUP)
        leaving.poll()
        git.kill()

    def _body(self, request: Request, rest: bytes) -> Iterator[bytes]:
        body = reader(request.length, request.chunked, request.parser)
        data = rest
        while not body.done:
            yield from (bytes(piece) for piece in body.feed(data))
            if not body.done:
                data = self._sock.recv(_PIECE)
                if not data:
                    raise BadBody("it ends in the middle")

    def _listed(self, git: Popen[bytes]) -> Iterator[bytes]:
        """What the remote says first, to its flush, in pieces."""
        out, size = _output(git), 0
        while True:
            head = out.read(4)
            if len(head) < 4:
                git.wait()
                raise Unable(self._why())
            count = length(head)
            piece = head + (out.read(count - 4) if count else b"")
            size += len(piece)
            if len(piece) != max(count, 4) or size > _MAX_REFS:
                raise Unable("the remote's list of refs cannot be read")
            yield piece
            if count == 0:
                return

    def _why(self) -> str:
        """The last that ssh, or the remote through it, has said."""
        said = os.pread(self._said, 1 << 16, 0)
        for sign, words in _KNOWN:
            if sign in said:
                return f"the remote is not reached by ssh: {words}"
        lines = [one.strip() for one in said.decode("utf-8", "replace").splitlines() if one.strip()]
        return f"the remote is not reached by ssh: {'; '.join(lines[-3:]) or 'it ended without a word'}"

    def _begin(self, kind: bytes) -> None:
        self._begun = True
        headers = [(b"content-type", kind), (b"cache-control", b"no-cache"), (b"transfer-encoding", b"chunked"),
                   (b"connection", b"close")]  # fmt: skip
        self._sock.sendall(write_head(b"HTTP/1.1 200 OK\r\n", headers))

    def _send(self, piece: bytes) -> None:
        """One chunk; an empty one is the last."""
        self._sock.sendall(b"".join(chunk(piece)) if piece else b"0\r\n\r\n")


def _plain(request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The body as the remote is to read it. A client's longer questions come compressed."""
    coding = next((value for name, value in request.headers if name == b"content-encoding"), b"identity")
    if coding not in (b"identity", b"gzip"):
        raise BadBody("compressed in an unknown way")
    inflate: Any = zlib.decompressobj(31) if coding == b"gzip" else None
    left = _MAX_ASKED
    for piece in pieces:
        if inflate is None:
            yield piece
            continue
        try:
            made = inflate.decompress(piece, left + 1)
        except zlib.error:
            raise BadBody("not compressed as it says") from None
        left -= len(made)
        if left < 0 or inflate.unconsumed_tail:
            raise BadBody("it is too long once it is unpacked")
        yield made


def _output(git: Popen[bytes]) -> IO[bytes]:
    if git.stdout is None:
        raise Unable("there is no ssh")
    return git.stdout


def _input(git: Popen[bytes]) -> IO[bytes]:
    if git.stdin is None:
        raise Unable("there is no ssh")
    return git.stdin


if __name__ == "__main__":
    main()
