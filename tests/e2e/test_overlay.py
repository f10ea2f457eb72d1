"""A workspace that is a layer over the operator's directory, as a user meets it."""

from __future__ import annotations

import json
import os
from typing import Any

import pexpect
import pytest

from tests.e2e.project import MANIFEST, Project
from tests.waiting import eventually, whole_lines


@pytest.fixture
def over(project: Project) -> Project:
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "closed": {"workspace": {"mode": "overlay"}}}})
    project.trust()
    (project.place / "file").write_text("original\n")
    return project


def test_an_untouched_overlay_leaves_nothing_and_a_changed_one_is_kept_and_goes_on(over: Project) -> None:
    assert over.run("run", "closed", "--", "cat", "file").stdout == "original\n"
    assert over.listing() == []
    done = over.run("run", "closed", "--", "sh", "-c", "echo more >> file; mkdir -p made/in; rm claude-bottle.json")
    assert done.returncode == 0, done.stderr
    assert "unexported work" in done.stderr
    assert (over.place / "file").read_text() == "original\n"
    assert (over.place / "claude-bottle.json").exists()
    identity = over.only()["identity"]
    over.do("resume", identity, "--yes", "--detach", "--", "sleep", "1000")
    assert over.do("exec", identity, "--", "cat", "file") == "original\nmore\n"
    over.do("stop", identity)
    over.do("cleanup", identity, "--yes")
    assert over.listing() == []
    assert not (over.home / "state" / identity).exists()


def events(over: Project, identity: str) -> list[dict[str, Any]]:
    lines = whole_lines(over.home / "state" / identity / "journal.jsonl")
    return [event["data"] for event in lines if event["kind"] == "host_edits"]


def begun(over: Project) -> str:
    """A bottle that has made a file and whose names were noted."""
    over.do("start", "closed", "--yes", "--detach", "--", "sh", "-c", "echo x > made; exec sleep 1000")
    identity = str(over.only()["identity"])
    eventually((over.home / "state" / identity / "layers/names").exists)
    eventually((over.home / "state" / identity / "layers/upper/made").exists)
    return identity


def test_what_the_host_changes_under_a_running_bottle_is_said_while_it_runs(over: Project) -> None:
    (over.place / "dir").mkdir()
    (over.place / "dir/gone").write_text("x")
    identity = begun(over)
    assert over.only()["host_edits"] == 0
    (over.place / "file").write_text("changed\n")
    (over.place / "dir/gone").unlink()
    eventually(lambda: over.only()["host_edits"] == 2)
    assert "! 2 changed on the host below it" in over.do("ls")
    # The note for `ls` is written before the journal.
    eventually(lambda: sorted(path for data in events(over, identity) for path in data["paths"]) == ["dir/gone", "file"])
    assert json.loads(over.do("diff", identity, "--json"))["host_edits"] == ["dir/gone", "file"]
    assert "changed on the host since the bottle was begun" in over.do("diff", identity)
    over.do("apply", identity)  # what comes from the bottle itself is no edit of the host's
    over.do("exec", identity, "--", "sh", "-c", "echo changed > file")
    eventually(lambda: over.only()["host_edits"] == 1)
    over.do("stop", identity)


def test_the_title_of_an_attached_terminal_says_what_the_host_changes(over: Project) -> None:
    child = over.terminal("start", "closed", "--yes", "--", "sh", "-c", "echo all is ready; exec sleep 1000")
    child.expect("all is ready\r")
    (over.place / "file").write_text("changed\n")
    child.expect("changed on the host below it: file")
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    identity = str(over.only()["identity"])
    child = over.terminal("attach", identity)
    child.expect("changed on the host below it: file")
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    over.do("stop", identity)


def test_what_the_host_removed_and_the_bottle_changed_is_a_conflict(over: Project) -> None:
    identity = begun(over)
    over.do("exec", identity, "--", "sh", "-c", "echo other > new; mv new file; echo y >> made")
    (over.place / "file").unlink()
    for _ in ("running", "ended"):
        found = {change["path"]: change for change in json.loads(over.do("diff", identity, "--json"))["changes"]}
        assert (found["file"]["landing"], found["file"]["why"]) == ("conflict", "removed on the host since")
        assert found["made"]["landing"] == "take"
        over.run("stop", identity)
    assert over.run("apply", identity).returncode == 1
    assert not (over.place / "file").exists()
    assert (over.place / "made").read_text() == "x\ny\n"


def test_what_the_host_changes_under_a_running_bottle_is_said_at_its_end_and_at_its_resumption(over: Project) -> None:
    over.do("start", "closed", "--yes", "--detach", "--", "sh", "-c", "echo x > made; sleep 1000")
    identity = over.only()["identity"]
    (over.place / "file").write_text("changed\n")
    done = over.run("stop", identity)
    assert done.returncode == 0
    assert "changed on the host since the bottle was begun" in done.stderr
    assert "file" in done.stderr
    assert events(over, identity)
    shown = over.do("resume", identity, "--dry-run")
    assert "changed on the host" in shown
    plan = json.loads(over.do("resume", identity, "--dry-run", "--format", "json"))
    assert plan["workspace"] == {"mode": "overlay", "target": "/workspace", "source": str(over.place)}


def test_cwd_is_a_copy_where_the_manifest_says_nothing_and_stays_an_overlay_where_it_says_so(over: Project) -> None:
    said = {}
    for agent in ("shell", "closed"):
        said[agent] = json.loads(over.do("start", agent, "--cwd", "--dry-run", "--format", "json"))["workspace"]["mode"]
    assert said == {"shell": "copy", "closed": "overlay"}


@pytest.mark.parametrize("project", ["docker"], indirect=True)
def test_a_layer_goes_from_one_backend_to_the_other_and_back(over: Project) -> None:
    over.env["CLAUDE_BOTTLE_BACKEND"] = "bubblewrap"
    assert over.run("run", "closed", "--", "sh", "-c", "echo more >> file; rm claude-bottle.json").returncode == 0
    identity = over.only()["identity"]
    plan = json.loads(over.do("resume", identity, "--dry-run", "--format", "json", "--backend", "docker"))
    assert plan["workspace"]["mode"] == ("overlay" if os.geteuid() == 0 else "copy")
    over.do("resume", identity, "--yes", "--detach", "--backend", "docker", "--", "sleep", "1000")
    assert over.do("exec", identity, "--", "sh", "-c", "cat file; ls; echo again >> file") == "original\nmore\nfile\n"
    over.do("stop", identity)
    over.do("resume", identity, "--yes", "--detach", "--backend", "bubblewrap", "--", "sleep", "1000")
    assert over.do("exec", identity, "--", "sh", "-c", "cat file; ls") == "original\nmore\nagain\nfile\n"
    over.do("stop", identity)
    assert (over.place / "file").read_text() == "original\n"


@pytest.mark.parametrize("project", ["docker"], indirect=True)
def test_an_overlay_goes_on_as_a_copy_where_there_are_none(over: Project) -> None:
    """Beside a gate in a container: and then it stays one, which the plan says."""
    over.env["CLAUDE_BOTTLE_BACKEND"] = "bubblewrap"
    assert over.run("run", "closed", "--", "sh", "-c", "echo more >> file; rm claude-bottle.json").returncode == 0
    identity = over.only()["identity"]
    over.place_gate("container")
    shown = over.do("resume", identity, "--dry-run", "--backend", "docker")
    assert "a copy in the place of an overlay: its gate runs in a container" in " ".join(shown.split())
    over.do("resume", identity, "--yes", "--detach", "--backend", "docker", "--", "sleep", "1000")
    assert over.do("exec", identity, "--", "sh", "-c", "cat file; ls; echo again >> file") == "original\nmore\nfile\n"
    over.do("stop", identity)
    assert "its work became one" in " ".join(over.do("resume", identity, "--dry-run", "--backend", "bubblewrap").split())
    over.do("resume", identity, "--yes", "--detach", "--backend", "bubblewrap", "--", "sleep", "1000")
    assert over.do("exec", identity, "--", "sh", "-c", "cat file; ls") == "original\nmore\nagain\nfile\n"
    over.do("stop", identity)
    assert (over.place / "file").read_text() == "original\n"
