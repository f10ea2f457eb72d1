"""The branches and tags of a repository, read as data: files only, no git is run and nothing in it is obeyed.

Good for counting and comparing. What is fetched (`pull`) is judged by git itself, in a repository of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from claude_bottle.patterns import regex
from claude_bottle.state import files
from claude_bottle.state.damage import damaged
from claude_bottle.workspace.directory import content
from claude_bottle.workspace.work import DIRECTORY, FILE, Tree

GIT = ".git"
_ID = regex(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PACKED = regex(rb"([0-9a-f]{40}(?:[0-9a-f]{24})?) (refs/[^\n]{1,1000})")
_NAME = regex(r"refs/[^\x00-\x20\x7f~^:?*\[\\]{1,1000}")
_REFS_LIMIT, _LOG_LIMIT, _MAX_REFS = 4 << 20, 8 << 20, 10_000
_SETTINGS = ("config", "config.worktree", "info/attributes", "info/exclude", "objects/info/alternates")
_MAX_HOOKS = 200
_NOTE, _LIMIT = "refs.json", 16 << 20


class Refs(NamedTuple):
    """`head`: the branch that is checked out ("refs/heads/main"), or the commit; "" where there is no repository. `tips`:
    name → commit. `log`: how many lines the log of HEAD has. `commits`: how many of them are new commits."""

    head: str = ""
    tips: tuple[tuple[str, str], ...] = ()
    log: int = 0
    commits: int = 0

    @property
    def tip(self) -> str:
        """The commit that is checked out; "" for none."""
        return dict(self.tips).get(self.head, "") if self.head.startswith("refs/") else self.head

    def without(self, prefix: str) -> Refs:
        """But for names that begin so."""
        return self._replace(head="", tips=tuple((name, tip) for name, tip in self.tips if not name.startswith(prefix)))

    def to_dict(self) -> dict[str, object]:
        return {"head": self.head, "tips": dict(self.tips), "log": self.log, "commits": self.commits}

    def moved(self, *others: Refs) -> tuple[str, ...]:
        """Branches (and the stash; "HEAD" where it is detached) that stand where none of the others has anything."""
        known = {tip for other in others for _, tip in other.tips} | {other.tip for other in others}
        moved = [name for name, tip in self.tips if tip not in known and name.startswith(("refs/heads/", "refs/stash"))]
        if self.head and not self.head.startswith("refs/") and self.head not in known | {tip for _, tip in self.tips}:
            moved.append("HEAD")
        return tuple(moved)

    def new_commits(self, before: Refs, *others: Refs) -> int:
        """As the log of HEAD counts them; one for each moved name where it does not know. A number for people: the agent
        may have written the log."""
        moved = self.moved(before, *others)
        return max(self.commits - before.commits, len(moved)) if moved else 0


class Handed(NamedTuple):
    """A workspace's repository when it was handed in: its own refs, those of the operator's repository (others for a
    clone), and what its settings and hooks held."""

    own: Refs = Refs()
    host: Refs = Refs()
    settings: dict[str, str] = {}  # noqa: RUF012  # never changed


def record(directory: Path, own: Tree, host: Tree | None = None) -> None:
    """Write down both in the directory `directory`, once: what is there already stays."""
    if not (directory / _NOTE).exists():
        refs = read(own)
        data = {"own": refs.to_dict(), "host": (read(host) if host else refs).to_dict(), "settings": settings(own)}
        files.write_atomic(directory / _NOTE, json.dumps({"schema": 1, **data}).encode())


def load(directory: Path) -> Handed:
    """What was recorded; FileNotFoundError for nothing, Damaged for what cannot be used."""
    data = files.read_json(directory / _NOTE, _LIMIT)
    try:
        said = data["settings"]
        return Handed(of_dict(data["own"]), of_dict(data["host"]), dict(said))  # type: ignore[call-overload]
    except (KeyError, TypeError, ValueError) as problem:
        raise damaged(directory / _NOTE, str(problem)) from problem


def settings(tree: Tree) -> dict[str, str]:
    """What git would obey of a repository: its configuration, attributes, alternates and hooks, each with a digest."""
    import hashlib

    hooks = [f"hooks/{name}" for name in tree.names(f"{GIT}/hooks")[:_MAX_HOOKS] if not name.endswith(".sample")]
    found = {}
    for name in (*_SETTINGS, *hooks):
        path = f"{GIT}/{name}"
        if tree.entry(path) is not None:
            try:
                found[path] = hashlib.sha256(content(tree, path, 1 << 20)).hexdigest()
            except OSError:
                found[path] = "unreadable"
    return found


def of_dict(data: object) -> Refs:
    """What `to_dict` gave. ValueError for anything else."""
    if not isinstance(data, dict) or not isinstance(data.get("tips"), dict):
        raise ValueError("no refs")
    tips = tuple(sorted((str(name), str(tip)) for name, tip in data["tips"].items()))
    return Refs(str(data.get("head")), tips, int(data.get("log", 0)), int(data.get("commits", 0)))


def read(tree: Tree) -> Refs:
    """Those of the repository whose `.git` is a directory at the top of `tree`. What cannot be understood is passed over."""
    top = tree.entry(GIT)
    if top is None or top.kind != DIRECTORY:
        return Refs()
    said = _text(tree, f"{GIT}/HEAD", 4096).strip()
    head = _name(said[5:].strip()) if said.startswith(b"ref: ") else said.decode() if _ID.fullmatch(said) else ""
    tips = {name: found[1].decode() for found in _PACKED.finditer(_text(tree, f"{GIT}/packed-refs", _REFS_LIMIT))
            if (name := _name(found[2]))}  # fmt: skip
    for path in _loose(tree):
        value = _text(tree, f"{GIT}/{path}", 4096).strip()
        if _ID.fullmatch(value) and len(tips) < _MAX_REFS and (name := _name(path.encode("utf-8", "surrogateescape"))):
            tips[name] = value.decode()
    log = _text(tree, f"{GIT}/logs/HEAD", _LOG_LIMIT)
    return Refs(head, tuple(sorted(tips.items())), log.count(b"\n"), log.count(b"\tcommit"))


def _loose(tree: Tree) -> list[str]:
    """The files below `.git/refs`."""
    found: list[str] = []
    stack = ["refs"]
    visited = 0
    while stack and len(found) < _MAX_REFS and visited < _MAX_REFS:
        place, visited = stack.pop(), visited + 1
        for name in tree.names(f"{GIT}/{place}"):
            entry = tree.entry(f"{GIT}/{place}/{name}")
            if entry and entry.kind == DIRECTORY and place.count("/") < 20:
                stack.append(f"{place}/{name}")
            elif entry and entry.kind == FILE:
                found.append(f"{place}/{name}")
    return found


def _text(tree: Tree, path: str, limit: int) -> bytes:
    try:
        return content(tree, path, limit)
    except OSError:
        return b""


def _name(raw: bytes) -> str:
    """A ref's name, or "" for what git itself would refuse as one."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    plain = ".." not in name and "//" not in name and "@{" not in name and not name.endswith(("/", ".", ".lock"))
    return name if plain and _NAME.fullmatch(name) and not any(p.startswith(".") for p in name.split("/")) else ""
