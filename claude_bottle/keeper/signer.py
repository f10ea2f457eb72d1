"""The process that signs the commits of one judged push, as the operator's own git would: with gpg, gpgsm or ssh-keygen.

A judge asks, and may have been taken over by what it reads: what is signed is a commit in git's form and nothing else, so
that no signature from here is good for a tag, a release or a message. The key stays where the operator has it; which one,
and how, the operator's own git settings say (never a repository's). It ends with the judge's line, and with its keeper.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import tempfile
from functools import cached_property

from claude_bottle import proc
from claude_bottle.errors import BottleError

SECONDS = 120.0
MAX_COMMIT, MAX_COMMITS = 16 << 20, 10_000
SIZE = struct.Struct(">I")
SIGNED, NOT = b"+", b"-"

_WHO = rb"[^\n\x00<>]* <[^\n\x00<>]*> [0-9]+ [+-][0-9]{4}\n"
# git-commit-tree(1) writes these in this order; then come encoding, mergetag and the like, and a blank line.
_COMMIT = re.compile(
    rb"tree [0-9a-f]{40}\n(?:parent [0-9a-f]{40}\n)*author " + _WHO + rb"committer " + _WHO
    + rb"(?:(?!gpgsig)[a-z][a-z0-9-]* [^\n\x00]*\n(?: [^\n\x00]*\n)*)*\n"
)  # fmt: skip


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        os.set_inheritable(sock.fileno(), False)
        serve(sock)


def serve(sock: socket.socket) -> None:
    """Sign what comes, one after the other, until the line ends."""
    key = Key()
    for _ in range(MAX_COMMITS):
        commit = received(sock)
        if commit is None:
            return
        try:
            answer = SIGNED + key.sign(commit)
        except (BottleError, OSError) as problem:
            answer = NOT + _words(problem).encode()
        sock.sendall(SIZE.pack(len(answer)) + answer)


def _words(problem: BottleError | OSError) -> str:
    return ": ".join(filter(None, (problem.what, problem.why))) if isinstance(problem, BottleError) else str(problem)


def received(sock: socket.socket) -> bytes | None:
    """The next message; None at the end, and for what is too long."""
    head = _exactly(sock, SIZE.size)
    if head is None or SIZE.unpack(head)[0] > MAX_COMMIT:
        return None
    return _exactly(sock, SIZE.unpack(head)[0])


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(1 << 16, count - len(data)))
        if not piece:
            return None
        data += piece
    return bytes(data)


class Key:
    """The operator's, as their git has it (git-config(1): gpg.format, user.signingKey, gpg.program)."""

    def sign(self, commit: bytes) -> bytes:
        """The signature of a commit. BottleError when there is none."""
        if _COMMIT.match(commit) is None:
            raise BottleError("that is no commit")
        return self._by_ssh(commit) if self._format == "ssh" else self._by_gpg(commit)

    @cached_property
    def _format(self) -> str:
        return setting("gpg.format") or "openpgp"

    @cached_property
    def _name(self) -> str:
        return setting("user.signingKey")

    @cached_property
    def _program(self) -> str:
        if self._format == "ssh":
            return setting("gpg.ssh.program") or "ssh-keygen"
        usual = {"openpgp": "gpg", "x509": "gpgsm"}.get(self._format, "")
        return setting(f"gpg.{self._format}.program") or setting("gpg.program") or usual

    @cached_property
    def _owner(self) -> str:
        return setting("user.email")

    def _by_gpg(self, commit: bytes) -> bytes:
        program, name = self._program, self._name or self._owner
        if not program or not name:
            raise BottleError("the operator's git does not say how to sign", why="set user.signingKey (and gpg.format)")
        done = _run([os.path.expanduser(program), "--batch", "--no-tty", "--status-fd=2", "-bsau", name], commit)
        if done.code != 0 or b"\n[GNUPG:] SIG_CREATED " not in b"\n" + done.err:
            raise BottleError("gpg did not sign", why=_last(done.err))
        return done.out

    def _by_ssh(self, commit: bytes) -> bytes:
        program, name = self._program, self._name
        if not name:
            raise BottleError("the operator's git does not say how to sign", why="set user.signingKey to a key of ssh")
        argv = [os.path.expanduser(program), "-Y", "sign", "-n", "git"]
        literal = name.removeprefix("key::") if name.startswith(("key::", "ssh-")) else ""
        with tempfile.NamedTemporaryFile("w", prefix="claude-bottle-", suffix=".pub") as file:
            if literal:
                file.write(literal + "\n")  # the public half; the private one is an agent's
                file.flush()
            done = _run([*argv, "-f", file.name, "-U"] if literal else [*argv, "-f", os.path.expanduser(name)], commit)
        if done.code != 0 or b"-----BEGIN SSH SIGNATURE-----" not in done.out:
            raise BottleError("ssh-keygen did not sign", why=_last(done.err))
        return done.out


def setting(name: str) -> str:
    """Of the operator or the system; a repository has no say."""
    for scope in ("--global", "--system"):
        done = proc.run(["git", "config", scope, "--includes", "--get", name], env=_environment(), cwd="/", timeout=SECONDS,
                        check=False)  # fmt: skip
        if done.code == 0:
            return done.out.decode("utf-8", "surrogateescape").removesuffix("\n")
    return ""


def _run(argv: list[str], data: bytes) -> proc.Result:
    return proc.run(argv, input=data, env=_environment(), cwd="/", timeout=SECONDS, check=False)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM") if name in os.environ}


def _last(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip() and "[GNUPG:]" not in line]
    return "; ".join(lines[-2:])[:500] or "it did not say why"


if __name__ == "__main__":
    main()
