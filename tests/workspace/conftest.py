"""A directory of the operator's, the copy that a bottle works on, and the record of what the copy was made from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from claude_bottle.backend import tree
from claude_bottle.workspace import base
from claude_bottle.workspace.apply import KEEP, Outcome, apply
from claude_bottle.workspace.base import Base
from claude_bottle.workspace.copied import CopiedWork
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.landing import Landing, Step
from claude_bottle.workspace.quarantine import quarantine
from claude_bottle.workspace.triggers import NAMES

EVERY_TRIGGER = frozenset(NAMES)


class Yard:
    """`host` is the operator's, `bottle` the agent's; `outside` must never change."""

    def __init__(self, place: Path) -> None:
        self.place, self.host, self.bottle = place, place / "host", place / "bottle"
        self.outside = place / "outside"
        for directory in (self.host, self.bottle, self.outside):
            directory.mkdir()
        (self.outside / "canary").write_text("canary\n")

    def hand_in(self) -> None:
        """Copy the operator's directory, as a launch does."""
        base.record(self.host, self.place / "base")
        tree.copy_into(self.host, self.bottle)

    @contextmanager
    def work(self) -> Iterator[CopiedWork]:
        found = CopiedWork(Base.load(self.place / "base"), self.bottle)
        try:
            yield found
        finally:
            found.close()

    def changed(self) -> list[str]:
        with self.work() as work:
            return [change.path for change in work.changes()]

    def steps(self) -> list[Step]:
        with self.work() as work, quarantine() as place, Directory(self.host) as host:
            return Landing(work, host, place).steps(work.changes())

    def apply(
        self, *, allowed: frozenset[str] = EVERY_TRIGGER, on_conflict: str = KEEP, dry_run: bool = False
    ) -> dict[str, Outcome]:
        with self.work() as work, quarantine() as place, Directory(self.host) as host:
            steps = Landing(work, host, place).steps(work.changes())
            outcomes = apply(work, host, steps, allowed=allowed, on_conflict=on_conflict, dry_run=dry_run)
        return {outcome.path: outcome for outcome in outcomes}

    def untouched_outside(self) -> bool:
        return snapshot(self.outside) == {"canary": ("file", False, b"canary\n")}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def snapshot(place: Path) -> dict[str, tuple[object, ...]]:
    """Everything in a tree: kinds, links, right to execute, content."""
    found: dict[str, tuple[object, ...]] = {}
    for root, directories, files in os.walk(place):
        for name in (*directories, *files):
            path = Path(root, name)
            key = str(path.relative_to(place))
            if path.is_symlink():
                found[key] = "link", os.readlink(path)
            elif path.is_dir():
                found[key] = ("directory",)
            elif path.is_file():
                found[key] = "file", bool(path.stat().st_mode & 0o100), path.read_bytes()
            else:
                found[key] = ("other",)
    return found


def plant(place: Path, content: dict[str, str | bytes]) -> None:
    for name, text in content.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(text.encode() if isinstance(text, str) else text)


def git(place: Path, *words: str, input: bytes | None = None) -> str:
    """git as the operator, or the agent, uses it there."""
    persons = {f"GIT_{who}_{what}": "n@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **persons}
    done = subprocess.run(["git", *words], cwd=place, env=env, input=input, capture_output=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.decode(errors="surrogateescape").strip()


def repository(place: Path, content: dict[str, str | bytes]) -> None:
    git(place, "init", "--quiet", "--initial-branch=main")
    plant(place, content)
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message=first")


def paths(steps: Sequence[Step]) -> dict[str, str]:
    return {step.change.path: step.action for step in steps}
