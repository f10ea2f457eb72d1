"""Going on from a checkpoint: the same bottle again (`rewind`), or another one (`fork`).

The conversation goes on under a new id. The archive only grows and knows a conversation by its id, so what was said after the
checkpoint is not lost, and a resumption takes up the right one.

Rewinding is written down before anything of the bottle changes (`decide`), and every step of `complete` may be taken twice:
what a crash cut short is completed by whoever next has to do with the bottle, never seen half-way.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from claude_bottle import harness as harnesses
from claude_bottle.backend import freezing, tree
from claude_bottle.errors import BottleError
from claude_bottle.model.names import new_session_id
from claude_bottle.state import checkpoints, damage, host_edits, layers
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath
from claude_bottle.state.files import ensure_private_dir, read_json, sync_directory, write_atomic
from claude_bottle.state.layers import Layers
from claude_bottle.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.harness.base import Harness
    from claude_bottle.state.checkpoints import Checkpoint
    from claude_bottle.state.paths import Paths

_SCHEMA, _LIMIT = 1, 1 << 16
# What is known of the beginning of a workspace, by which its changes are told.
_BEGINNING = ("base", "clone.json")


def decide(paths: Paths, identity: str, to: Checkpoint) -> None:
    """From now on a bottle that does not run goes back to one of its checkpoints, whatever happens. The caller holds the
    lock, has kept what there was, and calls `complete`."""
    said = {"schema": _SCHEMA, "to": to.name, "session": new_session_id()}
    write_atomic(paths.rewinding(identity), json.dumps(said).encode())


def under_way(paths: Paths, identity: str) -> bool:
    """Whether a bottle was to go back and has not got there."""
    return os.path.lexists(paths.rewinding(identity))


def complete(paths: Paths, identity: str) -> None:
    """Do what was decided, if anything was: files, conversation and record are those of the checkpoint. For whoever holds
    the lock of a bottle that does not run. BottleError when that cannot be; it is tried again the next time."""
    if not under_way(paths, identity):
        return
    note = paths.rewinding(identity)
    said = read_json(note, _LIMIT)
    name, session = said.get("to"), said.get("session")
    if said.get("schema") != _SCHEMA or not isinstance(name, str) or not isinstance(session, str):
        raise damage.damaged(note, "not a note of a rewinding")
    try:
        to = checkpoints.load(paths, identity, name)
        _bring_back(paths, identity, to)
        session = _branch(harnesses.get(to.harness), paths.home(identity), to, session)
    except (BottleError, OSError) as problem:
        raise BottleError(
            f"{identity} was to go back to its checkpoint {name} and could not", why=str(problem),
            do=f"claude-bottle rewind {identity} CHECKPOINT, to this or another one: claude-bottle checkpoints {identity}",
        ) from problem  # fmt: skip
    Store(paths).update(identity, session_id=session)
    os.unlink(note)
    sync_directory(note.parent)


def _bring_back(paths: Paths, identity: str, to: Checkpoint) -> None:
    if to.layers is not None and to.source is not None:
        begun = layers.load(paths, identity) or _again(paths, identity, to)
        layers.clear(layers.mend(begun), to.layers)
    elif to.workspace is not None:
        freezing.thaw(to.workspace, paths.workspace(identity))
        forget = layers.load(paths, identity)
        if forget is not None:
            os.unlink(forget.directory / layers.NOTE)
    freezing.thaw(to.home, paths.home(identity))


def _again(paths: Paths, identity: str, to: Checkpoint) -> Layers:
    """Layers of a workspace that has become a directory since: they are a workspace again."""
    ensure_private_dir(paths.layers(identity))
    return Layers(paths.layers(identity), type(paths.root)(str(to.source)), to.since, to.layers or ())


def fork(paths: Paths, origin: str, to: Checkpoint, identity: str, harness: Harness, *, same_agent: bool) -> str:
    """Fill the fresh state of `identity` from a checkpoint of `origin`; the id of its conversation. An agent of another name
    may have other grants: it gets the conversation, and nothing else of a home that the first one could have prepared."""
    if to.layers is not None and to.source is not None:
        _share_layers(paths, origin, to, identity)
    elif to.workspace is not None:
        ensure_private_dir(paths.workspace(identity))
        freezing.thaw(to.workspace, paths.workspace(identity))
    for name in _BEGINNING:
        _copy_note(paths.state(origin) / name, paths.state(identity) / name)
    home = paths.home(identity)
    if same_agent:
        freezing.thaw(to.home, home)
    elif harness.name == to.harness:
        _bring_conversation(harness, to, home)
    session = new_session_id()
    return _branch(harness, home, to, session) if harness.name == to.harness else session


def _share_layers(paths: Paths, origin: str, to: Checkpoint, identity: str) -> None:
    begun = layers.begin(paths, identity, type(paths.root)(str(to.source)))
    for name in to.layers or ():
        freezing.share(paths.layers(origin) / name, begun.directory / name)
    host_edits.hand_on(paths.layers(origin), begun.directory)
    layers.clear(begun._replace(since=to.since), to.layers or ())


def _copy_note(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    elif source.is_file() and not source.is_symlink():
        shutil.copyfile(source, target)


def _bring_conversation(harness: Harness, to: Checkpoint, home: Path) -> None:
    copy = tree.Copy(fresh=False)
    with tree.opened(to.home) as reading, tree.opened(home) as writing:
        for name, _ in harness.transcript_files(to.home, to.session_id):
            parent, _, base = name.rpartition("/")
            held, place = open_beneath(reading, parent, os.O_RDONLY | os.O_DIRECTORY), make_dirs_beneath(writing, parent)
            try:
                copy.one(held, place, base, name)
            finally:
                os.close(held)
                os.close(place)
    copy.demand_all()


def _branch(harness: Harness, home: Path, to: Checkpoint, new: str) -> str:
    """The id of the conversation in `home`, `new` where conversations have one."""
    try:
        return harness.branch(home, to.session_id, new)
    except OSError as problem:
        raise BottleError("the conversation cannot go on", why=str(problem)) from problem


