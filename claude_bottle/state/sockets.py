"""Unix sockets whose paths may be longer than the kernel takes.

`sun_path` holds 107 bytes (unix(7)), a state root can be deeper than that. So the directory is opened, no
link followed, and the socket is named through `/proc/self/fd/<directory>/<name>`, which is short whatever the
path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.state.damage import Damaged, cannot, quoted

if TYPE_CHECKING:
    from socket import socket


def bind_socket(sock: socket, path: Path) -> None:
    """Bind an AF_UNIX socket at `path`, mode 0600 from its first moment. A stale socket of that name is
    replaced, so the caller must hold the lock of whatever the socket belongs to. Damaged when the name is no
    socket."""
    with _short_name(path) as (name, directory):
        try:
            if not stat.S_ISSOCK(os.lstat(path.name, dir_fd=directory).st_mode):
                raise Damaged(f"{path} is not a socket", do=f"look at it (ls -ld {quoted(path)}), then remove it")
            os.unlink(path.name, dir_fd=directory)
        except FileNotFoundError:
            pass
        # Linux creates the name with the mode of the unbound socket: at no moment may others connect.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(name)


def connect_socket(sock: socket, path: Path) -> None:
    """Connect an AF_UNIX socket to `path`. FileNotFoundError or ConnectionRefusedError when nobody
    listens, BottleError when it cannot be reached for another reason."""
    with _short_name(path) as (name, _):
        try:
            sock.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except OSError as problem:
            raise cannot("connect to", path, problem) from problem


@contextmanager
def _short_name(path: Path) -> Iterator[tuple[str, int]]:
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as problem:
        raise cannot("open the directory", path.parent, problem) from problem
    try:
        yield f"/proc/self/fd/{directory}/{path.name}", directory
    finally:
        os.close(directory)
