"""The directory through which a container's first process finds its keeper, once.

It lies under a directory that only the operator can enter, and is shown in the container read-only. Since an engine
tells whoever is inside where a mount comes from, its path names neither the operator nor the bottle. It holds the
listening socket and the nonce until the one connection is made, then nothing but the files shown in the bottle's /etc:
those that name its user, where that is not 1000, and for podman those that name hosts.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.base import GID, HOSTNAME, UID, USER
from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import HOME
from claude_bottle.state import files
from claude_bottle.state.removal import remove_tree
from claude_bottle.state.sockets import bind_socket

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

_SHELL = "/bin/sh"


class RunDir:
    """The directory of one launch, made anew. `begun` marks a launch that has not been taken back or released, with the name
    of its backend; `cid_file` is where the client notes the container's id; `filled` marks that the volumes hold all there
    is, so that they may replace what lies on this host."""

    def __init__(self, paths: Paths, identity: str) -> None:
        name = sha256(f"{paths.root}\0{identity}".encode()).hexdigest()[:16]
        self.path = _private_place() / name
        self.begun = paths.run_dir / f"{identity}.begun"
        self.cid_file = paths.run_dir / f"{identity}.cid"
        self.filled = paths.run_dir / f"{identity}.filled"

    def begin(self, backend: str) -> None:
        """The empty directory. Whatever an earlier launch left is removed first."""
        self.remove()
        files.ensure_private_dir(self.begun.parent)
        self.begun.write_text(backend)
        files.ensure_private_dir(self.path.parent)
        try:
            self.path.mkdir(0o700)
        except FileNotFoundError:  # another bottle, the last one, has just ended
            files.ensure_private_dir(self.path.parent)
            self.path.mkdir(0o700)

    def make(self, backend: str, nonce: str) -> socket.socket:
        """The listening socket in it."""
        self.begin(backend)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._write("nonce", nonce)
            bind_socket(listener, self.path / "init.sock")
            # Its first process is uid 0 without the right to ignore modes; nobody else gets here, see above.
            os.chmod(self.path / "init.sock", 0o666)
            os.chmod(self.path, 0o711)
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
        return listener

    def name_user(self, uid: int, gid: int) -> tuple[tuple[str, str], ...]:
        """(host path, target) of what makes `uid` the bottle's user by name; nothing where every image has it."""
        if (uid, gid) == (UID, GID):
            return ()
        users = f"root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{uid}:{gid}:{USER}:{HOME}:{_SHELL}\n"
        self._write("passwd", users + "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
        self._write("group", f"root:x:0:\ntty:x:5:\n{USER}:x:{gid}:\nnogroup:x:65534:\n")
        return tuple((str(self.path / name), f"/etc/{name}") for name in ("passwd", "group"))

    def name_hosts(self) -> tuple[tuple[str, str], ...]:
        """The same for who is asked for names, for an engine that does not write these files where there is no network:
        it would show this host's."""
        self._write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
        self._write("hosts", f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n")
        return tuple((str(self.path / name), f"/etc/{name}") for name in ("resolv.conf", "hosts"))

    def cid(self) -> str:
        """The container's id; "" while there is none."""
        try:
            return self.cid_file.read_text().strip()
        except FileNotFoundError:
            return ""

    def shut(self) -> None:
        """After the one connection: nothing is left to connect with."""
        for name in ("init.sock", "nonce"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        self.leave()
        self.begun.unlink(missing_ok=True)

    def leave(self) -> None:
        """All but the mark: the launch is taken back, but for what its engine would not remove (see `workflow.reaping`)."""
        with contextlib.suppress(BottleError, OSError):
            remove_tree(self.path)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()  # the last one's
        self.cid_file.unlink(missing_ok=True)
        self.filled.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o444)


def _private_place() -> Path:
    """A directory for what lives as long as a bottle, with the same name at every call. Made, and refused unless it is
    ours alone, before anything is put there: others may write to /tmp too."""
    own = Path(f"/run/user/{os.geteuid()}")
    if own.is_dir() and own.stat().st_uid == os.geteuid():
        return own / "claude-bottle"
    return Path(f"/tmp/claude-bottle-{os.geteuid()}")
