"""Keep the conversation of a bottle outside the bottle's state, so that it outlives everything else of it.

The home it is copied from was written by the agent: every file is opened without following a link in any
component, only regular `*.jsonl` files below the record's conversation directories count, and number and
sizes are capped. What is archived only grows: a missing, empty, shorter or older file never replaces what is
there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.state import beneath, damage, files
from claude_bottle.state.conversation_copy import (
    ArchivedFile,
    Budget,
    archive_file,
    find,
    is_conversation,
    seed_file,
)
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BadRecord, BottleRecord, NewerSchema, shown, timestamp

if TYPE_CHECKING:
    from claude_bottle.state.transcript_text import Turn

SCHEMA = 1
META_LIMIT = 4 << 20
_FILES = "files"


class Archive(NamedTuple):
    """An archived conversation. `files` lie below `path`/files under the names they had in the home, the main
    one first. `partial` says that something was too much, `skipped` what. `record` is the bottle as it was
    then."""

    path: Path
    record: BottleRecord
    taken: str
    partial: bool
    skipped: tuple[str, ...]
    files: tuple[ArchivedFile, ...]

    def file_path(self, file: ArchivedFile) -> Path:
        return self.path / _FILES / file.name


def snapshot(paths: Paths, record: BottleRecord, found: Sequence[tuple[str, Path]] | None = None) -> Path | None:
    """Bring the archive up to date with the home; returns the archive, None when there never was a
    conversation.

    `found` is `Harness.transcript_files`: of each pair only the name relative to the home is used. Without it
    all of the record's conversation directories are searched. BottleError when the disk is full: what was
    archived before stays, and the archive is marked partial.
    """
    archive = paths.transcripts(record.agent, record.identity)
    budget = Budget()
    try:
        home = _open_home(paths.home(record.identity))
    except (FileNotFoundError, NotADirectoryError):
        return archive if archive.is_dir() else None
    except OSError as problem:
        raise damage.cannot("read", paths.home(record.identity), problem) from problem
    try:
        names = [name for name, _ in found] if found is not None else find(home, record.conversation, budget)
        if not names:
            return archive if archive.is_dir() else None
        _make_archive(paths, archive)
        known = _known(archive)
        # Partial until it is whole: no crash or full disk half-way leaves an archive that claims to be.
        _write_meta(archive, record, known, Budget(partial=True))
        failure = _copy_all(home, archive, _main_first(names, record), record, budget)
    finally:
        os.close(home)
    if failure is None or budget.files:
        _write_meta(archive, record, known, budget)
    if failure is not None:
        raise damage.cannot("archive the conversation in", archive, failure) from failure
    return archive


def _open_home(home: Path) -> int:
    """An agent's home; one that the agent has closed to everybody is opened again."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(home, flags)
    except PermissionError:
        parent = os.open(home.parent, flags)
        try:
            beneath.open_up(parent, home.name)
            return os.open(home.name, flags, dir_fd=parent)
        finally:
            os.close(parent)


def load(paths: Paths, identity: str) -> Archive:
    """The archive of an identity. BottleError when there is none; Damaged or NewerSchema where it cannot be
    used."""
    path = paths.transcripts_of(identity)
    try:
        meta = files.read_json(path / "meta.json", META_LIMIT)
    except FileNotFoundError:
        raise BottleError(f"no transcript of {identity}", why=f"{path} holds none") from None
    try:
        _check_schema(meta)
        record = BottleRecord.from_dict(meta.get("record"))
        if record.identity != identity:
            raise BadRecord(f"it belongs to {shown(record.identity)}")
        archived = _archived_files(path, meta, record)
    except BadRecord as problem:
        raise damage.damaged(path / "meta.json", str(problem)) from problem
    skipped = meta.get("skipped")
    texts = tuple(str(text) for text in skipped) if isinstance(skipped, list) else ()
    return Archive(path, record, str(meta.get("taken")), bool(meta.get("partial")), texts, archived)


def restore(paths: Paths, identity: str, home: Path) -> list[str]:
    """Put the archived conversation into a home that lacks it (`resume` after a clean exit), as it was but
    for a torn last line. Returns the names restored, the main one first; a file the home already has is left
    alone."""
    archive = load(paths, identity)
    home_fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return [file.name for file in archive.files if seed_file(archive.file_path(file), home_fd, file)]
    except OSError as problem:
        raise damage.cannot("restore the conversation to", home, problem) from problem
    finally:
        os.close(home_fd)


def _make_archive(paths: Paths, archive: Path) -> None:
    paths.ensure_root()
    for directory in (archive.parent.parent, archive.parent, archive, archive / _FILES):
        files.ensure_private_dir(directory)


def _copy_all(home: int, archive: Path, names: list[str], record: BottleRecord, budget: Budget) -> OSError | None:
    """Copy what is newer; returns the error that ended it (a full disk), after which nothing more was
    tried."""
    target = os.open(archive / _FILES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in names:
            if is_conversation(name, record.conversation):
                archive_file(home, target, name, budget)
            else:
                budget.skip(name, "not conversation")
    except OSError as problem:
        budget.skip("the rest", problem.strerror or "write error")
        return problem
    finally:
        os.close(target)
    return None


def _write_meta(archive: Path, record: BottleRecord, known: dict[str, ArchivedFile], budget: Budget) -> None:
    import json

    listed = known | {file.name: file for file in budget.files}
    names = _main_first(list(listed), record)
    copied = ("identity", "agent", "harness", "session_id", "cwd", "ended", "exit_code")
    whole = record.to_dict()
    meta = {
        "schema": SCHEMA,
        **{key: whole[key] for key in copied},
        "project": os.path.dirname(names[0]) if names else "",
        "taken": timestamp(),
        "partial": budget.partial,
        "skipped": budget.skipped,
        "files": [listed[name]._asdict() for name in names],
        "record": whole,
    }
    files.write_atomic(archive / "meta.json", json.dumps(meta, indent=2).encode() + b"\n")


def _known(archive: Path) -> dict[str, ArchivedFile]:
    """What an earlier snapshot listed. A list that makes no sense is put aside; the files themselves stay."""
    path = archive / "meta.json"
    try:
        meta = files.read_json(path, META_LIMIT)
        _check_schema(meta)
        return {file.name: file for file in _listed(meta)}
    except FileNotFoundError:
        return {}
    except (damage.Damaged, BadRecord):
        os.rename(path, path.with_name("meta.json.damaged"))
        return {}


def _check_schema(meta: dict[str, object]) -> None:
    schema = meta.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise NewerSchema(
            "this transcript was archived by a newer claude-bottle",
            why=f"its schema is {shown(schema)}, this version knows up to {SCHEMA}",
            do="use the newer claude-bottle for it; nothing was changed",
        )
    if schema != SCHEMA:
        raise BadRecord(f"no schema number we know but {shown(schema)}")


def _archived_files(path: Path, meta: dict[str, object], record: BottleRecord) -> tuple[ArchivedFile, ...]:
    listed = {file.name: file for file in _listed(meta) if is_conversation(file.name, record.conversation)}
    there = [name for name in listed if _is_file(path / _FILES / name)]
    return tuple(listed[name] for name in _main_first(there, record))


def _listed(meta: dict[str, object]) -> tuple[ArchivedFile, ...]:
    listed = meta.get("files")
    if not isinstance(listed, list):
        raise BadRecord("it lists no files")
    try:
        return tuple(ArchivedFile.from_dict(item) for item in listed)
    except (TypeError, KeyError) as problem:
        raise BadRecord("it lists a file in a form we do not know") from problem


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _main_first(names: list[str], record: BottleRecord) -> list[str]:
    """The session's own file before those of earlier sessions and sub-agents, which keep their order."""
    main = f"{record.session_id}.jsonl"
    return sorted(names, key=lambda name: name.rpartition("/")[2] != main)


def turns(paths: Paths, identity: str) -> Iterator[Turn]:
    """The archived conversation as turns, sanitised; empty when the archive lists no file. Errors as for
    `load`.

    Take a `snapshot` first to have what was said since.
    """
    from claude_bottle.state.transcript_text import turns_of

    archive = load(paths, identity)
    return turns_of(archive.file_path(archive.files[0])) if archive.files else iter(())
