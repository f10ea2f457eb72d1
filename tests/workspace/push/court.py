"""A real judge, confined as in the product, and somebody who plays the gate: a remote repository, a client's, and pushes."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claude_bottle.model import judging
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.judging import Frames, frame, pieces, said, saying
from claude_bottle.model.push import ZERO, Command
from tests.bench_of_judges import Bench
from tests.git_remote import CLEAN, git
from tests.waiting import SECONDS

GRANT = GitGrant(("acme/shop",), push=("refs/heads/bottle/*", "refs/tags/v*"), delete=True)


class Court:
    """`remote` is bare, `client` a clone of it; `judge` judges what the client would push."""

    def __init__(self, place: Path) -> None:
        self.place, self.remote, self.client = place, place / "remote.git", place / "client"
        git(place, "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        git(place, "init", "--quiet", "--initial-branch=main", str(self.client))
        git(self.client, "remote", "add", "origin", str(self.remote))
        self.commit("README", "hello\n")
        git(self.client, "push", "--quiet", "origin", "main")
        self.bench = Bench(place / "judges")
        self.line = self.bench.line
        self.approved = False
        self.let_through: list[str] = []
        self.fetched: list[bytes] = []

    def commit(self, name: str, content: str | bytes = "x\n", *, message: str = "work") -> str:
        path = self.client / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(self.client, "add", "--all", "--force", ".")
        git(self.client, "commit", "--quiet", "--allow-empty", "-m", message)
        return git(self.client, "rev-parse", "HEAD")

    def tips(self) -> dict[str, str]:
        out = git(self.remote, "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ", 1) for line in out.splitlines())  # type: ignore[misc]

    def pack(self, *revisions: str) -> bytes:
        """What git's own client would send for these."""
        asked = "".join(f"{one}\n" for one in revisions).encode()
        argv = ["git", "-C", str(self.client), "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q"]
        return subprocess.run(argv, input=asked, env=CLEAN, capture_output=True, check=True).stdout

    @property
    def faults(self) -> list[dict[str, Any]]:
        return self.bench.faults

    def judge(
        self, new: str = "HEAD", ref: str = "refs/heads/bottle/x", *, pack: bytes | None = None, grant: GitGrant = GRANT,
        commands: tuple[Command, ...] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """The verdict; with the pack that would go on as `pack`."""
        tips = self.tips()
        if not commands:
            new = git(self.client, "rev-parse", new)
            commands = (Command(tips.get(ref, ZERO), new, ref),)
        wanted = [command.new for command in commands if not command.deletes]
        if pack is None:
            pack = self.pack(*wanted, *(f"^{tip}" for tip in set(tips.values())))
        self.line.send(b"1 judge")
        message, descriptors, _, _ = socket.recv_fds(self.line, 1024, 1)
        if not descriptors:
            raise AssertionError(message)
        with socket.socket(fileno=descriptors[0]) as sock:
            sock.settimeout(SECONDS)
            return self._talk(sock, commands, sorted(set(tips.values())), pack, grant)

    def _talk(
        self, sock: socket.socket, commands: tuple[Command, ...], tips: list[str], pack: bytes, grant: GitGrant
    ) -> dict[str, Any]:
        sock.sendall(saying(judging.JOB, commands=[one.to_dict() for one in commands], tips=tips, grant=grant.to_dict(),
                            repository="git.bottle.test/acme/shop", approved=self.approved,
                            let_through=self.let_through))  # fmt: skip
        verdict: dict[str, Any] = {}
        judged = b""
        for kind, payload in self._frames(sock):
            if kind == judging.FETCH:
                self.fetched.append(payload)
                for piece in pieces(judging.HISTORY, self._upload(payload)):
                    sock.sendall(piece)
                sock.sendall(frame(judging.HISTORY_END))
            elif kind == judging.GO:
                threading.Thread(target=self._send_pack, args=(sock, pack), daemon=True).start()
            elif kind == judging.VERDICT:
                verdict = said(payload)
                if not verdict["allow"]:
                    return verdict
            elif kind == judging.JUDGED:
                judged += payload
            else:
                return {**verdict, "pack": judged}
        raise AssertionError(f"the judge left: {self.faults}")

    def _send_pack(self, sock: socket.socket, pack: bytes) -> None:
        try:
            for piece in pieces(judging.PACK, pack):
                sock.sendall(piece)
            sock.sendall(frame(judging.PACK_END))
        except OSError:
            pass  # it has heard enough

    def _frames(self, sock: socket.socket) -> Iterator[tuple[bytes, bytes]]:
        frames = Frames()
        while data := sock.recv(1 << 16):
            yield from frames.feed(data)

    def _upload(self, body: bytes) -> bytes:
        argv = ["git", "upload-pack", "--stateless-rpc", str(self.remote)]
        return subprocess.run(argv, input=body, env=CLEAN, capture_output=True, check=False).stdout

    def close(self) -> None:
        self.bench.close()
