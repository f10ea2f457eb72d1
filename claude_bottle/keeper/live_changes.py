"""What changed in a live directory, while a bottle had it, of what runs on the host without being called.

Mounts keep an agent from what is there when it starts (`backend.protected`); nothing keeps it from making another repository,
a Makefile or an editor's task deeper down. So the names are noted at the start and looked for again: what is new, gone or, by
the kernel's clock of files, changed since is told. Only looks, through no link; writes the note and nothing else.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from claude_bottle.backend import git_obeys
from claude_bottle.backend.git_obeys import GIT
from claude_bottle.backend.protected import INSTALLED
from claude_bottle.redact import printable
from claude_bottle.state import damage, files
from claude_bottle.workspace import triggers
from claude_bottle.workspace.trigger_names import TABLE

REPOSITORY = "repository"
# In the place of a trigger: what there were too many files to look at for.
UNSEEN = "unseen"
NEW, CHANGED, GONE, UNKNOWN = "new", "changed", "gone", "not looked at"
# What is in these is made by tools in their thousands: they count as one.
_WHOLE = INSTALLED | {"__pycache__", ".venv", "venv", ".tox", ".nox", ".yarn"}
_SCHEMA, _LIMIT, _MOST, _MOST_LOOKED_AT, _SHOWN, _NAMED = 1, 64 << 20, 20_000, 4_000_000, 5, 20
# Characters of paths, of each trigger, between a look and who hears of it; as JSON they take six bytes at most.
_ROOM = 128 << 10


class Seen(NamedTuple):
    """Path → (trigger, ctime in ns); of each trigger so many that none of another is left out for them. `left`: as many of
    the directories that were not looked at any more."""

    found: dict[str, tuple[str, int]]
    counted: Counter[str]
    left: list[str]

    def add(self, path: str, trigger: str, ctime: int) -> None:
        if path not in self.found and self.counted[trigger] < _MOST:
            self.found[path] = (trigger, ctime)
            self.counted[trigger] += 1


class Note(NamedTuple):
    """What was there when the bottle began, and when that was (ns). `made`: what we put there ourselves."""

    workspace: Path
    since: int
    names: frozenset[str]
    made: frozenset[str]


def save(note: Path, workspace: Path, made: frozenset[str]) -> None:
    """Note what is there, before anything of the bottle runs. A note of an earlier start is kept: it knows more."""
    if os.path.lexists(note):
        return
    names = frozenset(look(workspace).found)
    files.write_atomic(note, b"")  # only for its time, by the kernel's clock
    said = {"schema": _SCHEMA, "workspace": os.fsdecode(workspace), "since": os.stat(note).st_ctime_ns,
            "names": sorted(names), "made": sorted(made)}  # fmt: skip
    files.write_atomic(note, zlib.compress(json.dumps(said).encode(), 1))


def load(note: Path) -> Note | None:
    """None where there is none. Damaged for one that makes no sense."""
    try:
        data = files.read_private(note, _LIMIT)
    except FileNotFoundError:
        return None
    try:
        said = json.loads(zlib.decompressobj().decompress(data, _LIMIT))
        if said["schema"] == _SCHEMA and type(said["since"]) is int:
            return Note(Path(said["workspace"]), said["since"], frozenset(said["names"]), frozenset(said["made"]))
    except (zlib.error, ValueError, KeyError, TypeError) as problem:
        raise damage.damaged(note, str(problem)) from problem
    raise damage.damaged(note, "not a note of a live directory")


def changed(note: Note) -> dict[str, list[tuple[str, str]]]:
    """Trigger → (path, NEW, CHANGED or GONE), sorted, repositories first; UNSEEN → (path, UNKNOWN)."""
    seen, _, left = look(note.workspace)
    told: dict[str, list[tuple[str, str]]] = {}
    for path, (trigger, ctime) in sorted(seen.items(), key=lambda one: (one[0].rpartition("/")[2] in _WHOLE, one[0])):
        how = NEW if path not in note.names else CHANGED if ctime >= note.since else ""
        if how and path not in note.made:
            told.setdefault(trigger, []).append((path, how))
    for path in sorted(note.names - seen.keys() - note.made if not left else ()):
        if (note.names - seen.keys()).isdisjoint(map(str, Path(path).parents)):
            told.setdefault(_trigger_above(path), []).append((path, GONE))
    if left:
        told[UNSEEN] = [(path or ".", UNKNOWN) for path in sorted(left)]
    return dict(sorted(told.items(), key=lambda one: one[0] != REPOSITORY))


def shortened(told: dict[str, list[tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """As many of them as go into one report, each trigger's first ones: how many and how long they are is up to the agent."""
    found: dict[str, list[tuple[str, str]]] = {}
    for trigger, paths in told.items():
        room = _ROOM
        for path, how in paths:
            room -= len(path)
            if room < 0:
                break
            found.setdefault(trigger, []).append((path, how))
    return found


def understood(said: object) -> dict[str, list[tuple[str, str]]]:
    """What `changed` said, as it comes out of JSON."""
    given = said if isinstance(said, dict) else {}
    return {trigger: [(path, how) for path, how in paths] for trigger, paths in given.items()}


def for_journal(told: dict[str, list[tuple[str, str]]]) -> dict[str, object]:
    """How many of each trigger, and the first of them."""
    return {trigger: {"count": len(paths), "paths": [f"{path} ({how})" for path, how in paths[:_NAMED]]}
            for trigger, paths in told.items()}  # fmt: skip


def describe(told: dict[str, list[tuple[str, str]]]) -> list[str]:
    """One line for each trigger, safe to print."""
    titles = {REPOSITORY: "git", **{name: words[0] for name, words in TABLE.items()}}
    return [f"too many files in the live workspace to look at them all: {shown(paths)}" if trigger == UNSEEN else
            f"would run on this machine ({titles[trigger]}), changed in the live workspace: {shown(paths)}"
            for trigger, paths in told.items()]  # fmt: skip


def shown(paths: list[tuple[str, str]]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(f"{printable(path, width=80)} ({how})" for path, how in paths[:_SHOWN]) + more


def look(workspace: Path) -> Seen:
    """Everything in it that would run."""
    seen, pending, looked_at = Seen({}, Counter(), []), [("", "", False)], 0
    while pending and looked_at < _MOST_LOOKED_AT:
        below, inherited, installed = pending.pop()
        entries = _entries(workspace / below)
        looked_at += len(entries)
        if below and git_obeys.is_bare({entry.name for entry in entries}):
            _repository(seen, workspace, below)
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            directory = entry.is_dir(follow_symlinks=False)
            if entry.name == GIT:
                if directory:
                    _repository(seen, workspace, path)
                else:
                    _add(seen, entry, path, REPOSITORY)
                continue
            trigger = inherited or ("" if installed else _trigger_of(path, directory=directory))
            whole = directory and entry.name in _WHOLE
            if trigger and (whole or not directory):
                _add(seen, entry, path, trigger)
            if directory:
                pending.append((path, "" if whole else trigger, installed or whole))
    seen.left.extend(path for path, _, _ in pending[:_MOST])
    return seen


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _add(seen: Seen, entry: os.DirEntry[str], path: str, trigger: str) -> None:
    try:
        seen.add(path, trigger, entry.stat(follow_symlinks=False).st_ctime_ns)
    except OSError:
        pass  # gone meanwhile


def _repository(seen: Seen, workspace: Path, path: str) -> None:
    """A repository itself, by its name alone, and what git obeys of it and of those that it keeps."""
    for one in (path, *(kept for _, kept in git_obeys.kept(workspace, path))):
        seen.add(one, REPOSITORY, 0)
        _obeyed(seen, workspace, one)


def _obeyed(seen: Seen, workspace: Path, path: str) -> None:
    for name in (*git_obeys.OBEYED, *git_obeys.UNDER_WAY):
        at = f"{path}/{name}"
        try:
            about = os.lstat(workspace / at)
        except OSError:
            continue
        if stat.S_ISDIR(about.st_mode) and name == "hooks":
            for entry in _entries(workspace / at):
                if not entry.name.endswith(".sample"):
                    _add(seen, entry, f"{at}/{entry.name}", REPOSITORY)
        else:
            seen.add(at, REPOSITORY, 0 if stat.S_ISDIR(about.st_mode) else about.st_ctime_ns)


def _trigger_of(path: str, *, directory: bool = False) -> str:
    if f"/{GIT}/" in f"/{path}/":
        return REPOSITORY
    parts = path.split("/")
    # No pattern has more parts than two.
    return _by_name("/".join(parts[-2:]), directory)


def _trigger_above(path: str) -> str:
    """What `look` found it for: the first of its directories that a tool obeys, or itself."""
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next(filter(None, (_trigger_of(one, directory=True) for one in above)), "") or _trigger_of(path) or REPOSITORY


@lru_cache(maxsize=1 << 16)
def _by_name(path: str, directory: bool) -> str:
    return triggers.named(path, directory=directory)
