"""What a private clone holds, as one number: whether anything was made of it since, by content and not by time.

Files, links and directories with the right to execute, and of the repository what its refs and HEAD say, read as data (see
`git_source`). The agent writes both: no link is followed, and what cannot be read makes a number of its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from claude_bottle.backend import git_source
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20


def of_clone(workspace: Path) -> str:
    """The number, in hexadecimal; never the same twice for what cannot be read whole."""
    whole = hashlib.sha256()
    try:
        for path, entry in ignore.walk(str(workspace), ignore.Ignored(())):
            if ".git" in path.split("/"):
                continue
            about = entry.stat(follow_symlinks=False)
            content = os.readlink(entry.path).encode("utf-8", "surrogateescape") if entry.is_symlink() else b""
            if stat.S_ISREG(about.st_mode):
                content = _content(entry.path)
            executes = about.st_mode & 0o100 if stat.S_ISREG(about.st_mode) else 0
            whole.update(repr((path, stat.S_IFMT(about.st_mode), executes, content)).encode("utf-8", "surrogateescape"))
        whole.update(repr(_refs(workspace)).encode("utf-8", "surrogateescape"))
    except (OSError, BottleError):
        whole.update(os.urandom(16))
    return whole.hexdigest()


def _content(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(os.open(path, _FILE), "rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.digest()


def _refs(workspace: Path) -> tuple[object, ...]:
    own = workspace / ".git"
    source = git_source.GitSource(workspace, own, own)
    return git_source.head(source), sorted(git_source.refs(source).items()), git_source.stashed(source)
