"""The journal of a preserved bottle: whoever changes it is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pexpect
import pytest

from tests.e2e.project import Project


def preserved(project: Project) -> tuple[str, Path]:
    done = project.run("run", "closed", "--keep", "--", "true")
    assert done.returncode == 0, done.stderr
    identity = project.only()["identity"]
    return identity, project.home / "state" / identity / "journal.jsonl"


@pytest.mark.parametrize("change", ["cut off", "edited", "removed"])
def test_verify_finds_a_changed_journal(project: Project, change: str) -> None:
    identity, journal = preserved(project)
    whole = project.run("log", identity, "--verify")
    assert whole.returncode == 0, whole.stdout
    assert "as they were written" in whole.stdout
    lines = journal.read_text().splitlines(keepends=True)
    if change == "cut off":
        journal.write_text("".join(lines[:-1]))
    elif change == "edited":
        journal.write_text("".join(lines).replace('"backend":"bubblewrap"', '"backend":"elsewhere"', 1))
    else:
        journal.unlink()
    found = project.run("log", identity, "--verify", "--json")
    assert found.returncode == 1
    report = json.loads(found.stdout)
    assert report["ok"] is False
    assert len(report["problems"]) == 1


def test_a_resume_tells_that_the_end_was_cut_off(project: Project) -> None:
    identity, journal = preserved(project)
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    child = project.terminal("resume", identity, "--yes", "--keep", "--", "true")
    child.expect(r"session ended \(exit 0\)")
    child.expect(f"resume {identity}")
    child.expect(pexpect.EOF)
    assert "the journal was changed while the bottle did not run" in project.run("log", identity).stdout


def test_a_journal_goes_on_whole_over_several_sessions(project: Project) -> None:
    identity, _journal = preserved(project)
    child = project.terminal("resume", identity, "--yes", "--keep", "--", "true")
    child.expect(r"session ended \(exit 0\)")
    child.expect(f"resume {identity}")
    child.expect(pexpect.EOF)
    assert project.run("log", identity, "--verify").returncode == 0
    assert "changed while" not in project.run("log", identity).stdout
