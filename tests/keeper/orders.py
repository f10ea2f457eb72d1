"""Orders for the tests: a launch whose state, lock and plan are made as the workflow makes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from claude_bottle.backend.base import Backend
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.harness.base import Harness, Launch, Program
from claude_bottle.keeper.order import Order
from claude_bottle.model.names import new_identity
from claude_bottle.model.plan import BottlePlan, Workspace
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "TERM": "xterm-256color", "LANG": "C.UTF-8",
       "PS1": "$ "}  # fmt: skip
CONVERSATION = ".claude/projects/-workspace/s1.jsonl"


class Talker:
    """A harness whose conversation is a file the test's agent writes; see CONVERSATION."""

    name = "talker"
    supports_resume = True

    def find(self, paths: Paths) -> Program | None:
        return Program("", (), "/bin/sh")

    def install(self, paths: Paths, progress: Any) -> Program:
        return Program("", (), "/bin/sh")

    def command(self, launch: Launch) -> list[str]:
        return list(launch.args)

    def environment(self, launch: Launch) -> dict[str, str]:
        return {}

    def seed(self, home: Path, launch: Launch) -> None:
        (home / CONVERSATION).parent.mkdir(parents=True, exist_ok=True)
        (home / "seeded").touch()

    def transcript_files(self, home: Path, session_id: str) -> list[tuple[str, Path]]:
        return [(CONVERSATION, home / CONVERSATION)]

    def latest_session(self, home: Path) -> str | None:
        return "s1" if (home / CONVERSATION).exists() else None

    def placeholder_prefix(self, env_name: str) -> str:
        return ""


def order(root: Path, *argv: str, backend: Backend | None = None, **options: Any) -> Order:
    """A first start of `argv`, its identity fresh and locked by this process."""
    paths = Paths(root)
    store = Store(paths)
    identity = new_identity("tester", store.identities())
    record = BottleRecord(identity, "tester", "talker", "local", created=timestamp())
    store.create(record)
    IdentityLock(paths, identity).acquire()
    paths.workspace(identity).mkdir()
    return for_record(paths, record, *argv, backend=backend, **options)


def for_record(paths: Paths, record: BottleRecord, *argv: str, backend: Backend | None = None, **options: Any) -> Order:
    """An order for a record that exists and whose lock this process holds."""
    plan = BottlePlan(
        record.identity, "tester", "talker", "", "local", "", tuple(argv), Workspace("none", "/workspace"), (), ENV,
        limits=options.pop("limits", ()),
    )  # fmt: skip
    harness: Harness = Talker()
    return Order(
        paths=paths,
        plan=plan,
        record=record,
        backend=backend or FakeBackend(),
        harness=harness,
        launch=Launch(Program("", (), argv[0]), args=argv[1:]),
        argv=argv,
        workspace=paths.workspace(record.identity),
        env=dict(os.environ) if options.pop("inherit_env", False) else ENV,
        **options,
    )
