"""The one door to other programs: which ones are found, and what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle import proc


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho $PATH\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory an agent writes to, in which we stand, and a home elsewhere."""
    place = tmp_path / "project"
    place.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return place


@pytest.mark.parametrize("entry", [".", "", "bin", "{project}/bin", "{project}", "{project}/../project/bin", "{link}"])
def test_no_program_is_taken_from_the_directory_we_stand_in(
    project: Path, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(project / "bin" / "npm")
    program(project / "npm")
    (link := project.with_name("link")).symlink_to(project / "bin")
    planted = entry.format(project=project, link=link)
    ours = program(project.with_name("system") / "npm")
    monkeypatch.setenv("PATH", os.pathsep.join([planted, str(ours.parent), "/usr/bin", "/bin"]))
    assert proc.find("npm") == str(ours)
    assert proc.run(["npm"]).out.decode().strip().split(":")[0] == str(ours.parent)


def test_where_the_home_lies_below_us_its_programs_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    ours = program(project / ".local" / "bin" / "claude")
    monkeypatch.setenv("PATH", f"{ours.parent}:/usr/bin")
    assert proc.find("claude") == str(ours)


def test_a_directory_that_is_gone_is_no_obstacle(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.rmdir()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert proc.find("sh") in ("/usr/bin/sh", "/bin/sh")
