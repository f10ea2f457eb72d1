"""What of a repository git obeys: files in it that name programs, and files elsewhere that its settings name.

Whoever writes one of them has a program run the next time that somebody looks at the repository. `commondir` is the least
known: where it stands, settings and hooks are those of the directory that it names. Only looks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from claude_bottle.patterns import regex

GIT = ".git"
OBEYED = ("hooks", "config", "config.worktree", "commondir", "gitdir", "info/attributes")
# What holds the place of one that is missing, and changes nothing for git: None is a directory.
HOLDS: dict[str, bytes | None] = {"hooks": None, "config": b"", "config.worktree": b"", "commondir": b".\n"}
# A linked work tree's own directory has no others: they lie where its `commondir` leads.
HOLDS_OF_WORK_TREES: dict[str, bytes | None] = {"config.worktree": b""}
# Where it keeps others: of submodules, of linked work trees.
KINDS = MODULES, WORKTREES = "modules", "worktrees"
# A half-done rebase runs what its list says when it is gone on with.
UNDER_WAY = ("rebase-merge", "rebase-apply", "sequencer")
_LIMIT = 1 << 20
_NAMES_A_FILE = ("core.hookspath", "include.path", "includeif.")
_NAMES_A_PROGRAM = ("core.fsmonitor", "core.sshcommand", "core.editor", "core.pager", "core.askpass", "core.gitproxy",
                    "sequence.editor", "diff.", "filter.", "merge.", "gpg.", "credential.", "alias.", "difftool.",
                    "mergetool.", "pager.", "uploadpack.", "sendemail.", "core.attributesfile")  # fmt: skip
_OF_GIT = "%(prefix)/"  # where git is installed; git-config(1), as `~` and `~user`
_DEEPEST = 8
# Without one of these words git need not be asked what a file says.
_TELLING = regex(rb"path|monitor|command|editor|pager|askpass|proxy|diff|filter|merge|gpg|credential|alias|"
                      rb"uploadpack|sendemail|attributes", re.IGNORECASE)


def is_bare(names: set[str]) -> bool:
    """Whether git takes a directory with these names in it for a repository, whatever it is called."""
    return {"HEAD", "objects", "refs"} <= names


def kept(top: Path, repository: str) -> Iterator[tuple[str, str]]:
    """The repositories that one keeps, and those that these keep: MODULES or WORKTREES, and the path below `top`. A
    submodule's name may hold slashes: a directory with a HEAD is a repository, any other leads to some."""
    pending = _places(repository)
    while pending:
        kind, place = pending.pop()
        for name in _directories(top / place):
            inner = f"{place}/{name}"
            if os.path.lexists(top / inner / "HEAD"):
                yield kind, inner
                pending += _places(inner)
            else:
                pending.append((kind, inner))


def _places(repository: str) -> list[tuple[str, str]]:
    return [(kind, f"{repository}/{kind}" if repository else kind) for kind in KINDS]


def _directories(place: Path) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def leads_to(file: Path) -> Path | None:
    """Where the repository lies that a `.git` file names."""
    text = _read(file)
    if text is None or not text.startswith(b"gitdir: "):
        return None
    return file.parent / os.fsdecode(text[8:].rstrip(b"\r\n"))


def named(repository: Path, work: Path | None) -> dict[Path, bytes | None]:
    """The files and directories that the settings of a repository have git read or run, there or not, with what may hold
    the place of each. `work`: where its files lie."""
    from claude_bottle.backend.git_safely import settings

    found: dict[Path, bytes | None] = {}
    for name in ("config", "config.worktree"):
        text = _read(repository / name) or b""
        elsewhere = settings(text).get("core.worktree", []) if b"worktree" in text.lower() else []
        _named(repository / name, repository / elsewhere[-1] if elsewhere else work or repository, found, 0)
    return found


def _named(config: Path, work: Path, found: dict[Path, bytes | None], depth: int) -> None:
    from claude_bottle.backend.git_safely import settings

    text = _read(config)
    if not text or depth > _DEEPEST or not _TELLING.search(text):
        return
    for key, values in settings(text).items():
        lower = key.lower()
        if lower.startswith(_NAMES_A_FILE):
            plain = [os.path.expanduser(value) for value in values if not value.startswith(_OF_GIT)]
            places = [(config.parent if lower.startswith("include") else work) / value for value in plain]
            found.update(dict.fromkeys(places, b"" if lower.startswith("include") else None))
            if lower.startswith("include"):
                for place in places:
                    _named(place, work, found, depth + 1)
        elif lower.startswith(_NAMES_A_PROGRAM):
            words = [word for value in values for word in _words(value)]
            found.update({place: None for word in words if (place := work / os.path.expanduser(word)).is_file()})


def _words(value: str) -> list[str]:
    import shlex

    try:
        return shlex.split(value.lstrip("!"))
    except ValueError:
        return value.split()


def _read(file: Path) -> bytes | None:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            return opened.read(_LIMIT)
    except OSError:
        return None
