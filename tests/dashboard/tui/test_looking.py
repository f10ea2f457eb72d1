"""The pages that are looked up: grants, work, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.backend import tree
from claude_bottle.state.files import write_atomic
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import PRESERVED, BottleRecord, timestamp
from claude_bottle.state.store import Store
from claude_bottle.workspace import base
from tests.dashboard.keepers import HOST, FakeKeeper
from tests.dashboard.tui.drive import Driver, drive

Keeper = Callable[..., FakeKeeper]


def page(at: Driver, name: str) -> str:
    return str([page.name_ for page in at.app.pages].index(name) + 1)


@pytest.fixture
def worked(paths: Paths, tmp_path: Path) -> str:
    """The identity of a bottle that has ended with work the operator has not got."""
    identity, source = "docs-7ahq2c", tmp_path / "source"
    source.mkdir()
    (source / "cart.py").write_text("one\n")
    Store(paths).create(BottleRecord(identity, "docs", "shell", "bubblewrap", status=PRESERVED, created=timestamp(),
                                     preserved=("unexported work",)))  # fmt: skip
    plan = {"workspace": {"mode": "copy", "source": str(source), "files": 1, "bytes": 4}}
    write_atomic(paths.plan(identity), json.dumps(plan).encode())
    base.record(source, paths.state(identity) / "base")
    paths.workspace(identity).mkdir()
    tree.copy_into(source, paths.workspace(identity))
    (paths.workspace(identity) / "cart.py").write_text("two\n")
    (paths.workspace(identity) / ".envrc").write_text("evil [b]\x1b[2J[/b]\n")
    paths.home(identity).mkdir(exist_ok=True)
    return identity


def test_a_grant_is_read_and_revoked_by_keys(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.granted(1, HOST)
    made.granted(2, HOST, ended="used", scope="once")

    async def scenario(at: Driver) -> None:
        await at.until(lambda: at.app.board.bottles["reviewer-p02mfe"].grants)
        await at.press(page(at, "grants"))
        await at.sees("this session", "a host: crates.io", "✗ used")
        await at.press("x")
        await at.armed()
        assert "revoke g-00000001" in at.screen and "https://crates.io/api/**" in at.screen
        assert at.app.marker in at.screen
        await at.decide("y", lambda: made.decided)
        await at.sees("revoked")
        await at.press("escape")
        await at.sees("✗ revoked by the")
        await at.press("x")
        await at.sees("choose a grant that is in force")

    drive(paths, scenario)
    assert [one["grant"] for one in made.decided] == ["g-00000001"]


def test_a_grant_that_somebody_else_has_revoked_is_said_to_be_none(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    grant = made.granted(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.until(lambda: at.app.board.bottles["reviewer-p02mfe"].grants)
        await at.press(page(at, "grants"))
        await at.sees("this session")
        await at.press("x")
        await at.armed()
        grant["ended"] = "revoked by the operator"
        await at.decide("y", lambda: "nothing was revoked" in at.screen)

    drive(paths, scenario)
    assert made.decided == []


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_work_shows_what_would_run_later_first_and_its_patch_as_text(
    paths: Paths, worked: str, size: tuple[int, int]
) -> None:
    async def scenario(at: Driver) -> None:
        await at.press(page(at, "work"))
        await at.sees("2 files", "runs later on this machine", ".envrc", "cart.py")
        assert at.screen.index(".envrc") < at.screen.index("cart.py")
        await at.press("enter")
        await at.sees(f"what {worked} changed", "+evil [b]\\x1b[2J[/b]")
        await at.press("escape")
        (paths.workspace(worked) / "new.py").write_text("3\n")
        await at.press("r")
        await at.sees("3 files", "new.py")

    drive(paths, scenario, size)


def test_what_keeps_work_from_being_compared_is_said(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe")

    async def scenario(at: Driver) -> None:
        await at.press(page(at, "work"))
        await at.until(lambda: at.app.page.list.lines and "looking" not in at.app.page.list.lines[0].text)
        assert "bug" not in at.screen

    drive(paths, scenario)


def test_a_checkpoint_is_taken_by_a_key(paths: Paths, worked: str) -> None:
    async def scenario(at: Driver) -> None:
        await at.press(page(at, "checkpoints"))
        await at.sees("none yet")
        await at.press("c")
        await at.sees("c1", "copy")
        await at.press("c")  # the one before is seen once it is whole, and the bottle let go a moment later
        await at.sees("c2")
        await at.sees(f"claude-bottle fork AGENT {worked}@")

    drive(paths, scenario, size=(200, 50))
