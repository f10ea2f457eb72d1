"""A workspace that is a layer over the operator's directory, as a user meets it."""

from __future__ import annotations

import json
import os

import pytest

from tests.e2e.project import MANIFEST, Project


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


def test_what_the_host_changes_under_a_running_bottle_is_said_at_its_end_and_at_its_resumption(over: Project) -> None:
    over.do("start", "closed", "--yes", "--detach", "--", "sh", "-c", "echo x > made; sleep 1000")
    identity = over.only()["identity"]
    (over.place / "file").write_text("changed\n")
    done = over.run("stop", identity)
    assert done.returncode == 0
    assert "changed on the host since the bottle was begun" in done.stderr
    assert "file" in done.stderr
    kinds = [json.loads(line)["kind"] for line in (over.home / "state" / identity / "journal.jsonl").read_text().splitlines()]
    assert "host_edits" in kinds
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
