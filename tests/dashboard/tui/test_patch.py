"""A grant for the agent goes on to its manifest, once that is read and wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from claude_bottle.dashboard.tui.patch_dialog import PatchDialog
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.merging import Patch, Proposal
from tests.dashboard.tui.drive import Driver, drive

BEFORE, AFTER = b'{\n  "egress": []\n}\n', b'{\n  "egress": [\n    {"host": "crates.io"}\n  ]\n}\n'


def shown(paths: Paths, tmp_path: Path, scenario: Callable[[Driver, Path], object]) -> None:
    file = tmp_path / "claude-bottle.json"
    file.write_bytes(BEFORE)
    proposal = Proposal("reviewer-p02mfe", (Patch(file, BEFORE, AFTER),))

    async def run(at: Driver) -> None:
        at.app.push_screen(PatchDialog(paths, proposal, at.app.marker))
        await scenario(at, file)  # type: ignore[misc]

    drive(paths, run)


def test_the_difference_is_written_by_a_key(paths: Paths, tmp_path: Path) -> None:
    async def scenario(at: Driver, file: Path) -> None:
        await at.armed()
        assert '+    {"host": "crates.io"}' in at.screen and at.app.marker in at.screen
        await at.decide("y", lambda: "written: the next start of this agent has it" in at.screen)
        assert file.read_bytes() == AFTER

    shown(paths, tmp_path, scenario)


def test_leaving_writes_nothing(paths: Paths, tmp_path: Path) -> None:
    async def scenario(at: Driver, file: Path) -> None:
        await at.armed()
        await at.press("escape")
        await at.sees("bottles")
        assert file.read_bytes() == BEFORE

    shown(paths, tmp_path, scenario)


def test_a_file_that_has_changed_meanwhile_is_left_and_that_is_said(paths: Paths, tmp_path: Path) -> None:
    async def scenario(at: Driver, file: Path) -> None:
        await at.armed()
        file.write_text("{}")
        await at.decide("y", lambda: "nothing was written" in at.screen)
        assert file.read_text() == "{}"

    shown(paths, tmp_path, scenario)
