"""Checkpoints, rewinding and forking, with real Claude Code against the scripted model, as a user does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import BACKENDS
from tests.e2e.project import MANIFEST, Project
from tests.waiting import eventually


@pytest.fixture(params=BACKENDS)
def work(request: pytest.FixtureRequest, tmp_path: Path, tools: Path) -> Any:
    """A project whose agents work over its directory: on a layer where there are some, on a copy elsewhere."""
    containers = request.getfixturevalue("containers") if request.param == "docker" else None
    made = Project(tmp_path, tools, containers=containers)
    model = {**MANIFEST["bottles"]["model"], "workspace": {"mode": "overlay"}}
    bottles = {**MANIFEST["bottles"], "model": model, "closed": {"workspace": {"mode": "overlay"}}}
    agents = {**MANIFEST["agents"], "other": {"bottle": "model", "harness": "claude"}}
    made.write({**MANIFEST, "bottles": bottles, "agents": agents})
    made.trust()
    (made.place / "file").write_text("original\n")
    yield made
    made.close()
    assert made.objects() == []


def inside(project: Project, identity: str, command: str) -> str:
    return project.do("exec", identity, "--", "sh", "-c", command)


def said(project: Project) -> str:
    """What the model was last shown."""
    return json.dumps(project.seen[-1].body["messages"])


def written(project: Project, identity: str, word: str) -> None:
    """Claude writes its transcript a moment after it has drawn an answer."""
    eventually(lambda: word in project.run("transcript", identity).stdout)


def rewind(project: Project, child: pexpect.spawn[str], identity: str, name: str, told: str = "") -> None:
    """While it runs; the session that goes on is at its prompt."""
    project.do("rewind", identity, *([name] if name else []))
    child.expect(f"going back to the checkpoint {told or name}")
    child.expect("bypass.{1,40}permissions")


def leave(project: Project, child: pexpect.spawn[str], identity: str) -> None:
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    project.do("stop", identity)
    eventually(lambda: not project.living(identity))


def test_a_running_bottle_is_checkpointed_rewound_and_forked_and_each_conversation_goes_on(work: Project) -> None:
    child = work.session()
    work.ask(child, "remember the word tangerine")
    identity = work.only()["identity"]
    inside(work, identity, "echo one >> file; echo kept > made; echo x > ~/note")
    written(work, identity, "tangerine")
    work.do("checkpoint", identity, "fruit")
    work.ask(child, "remember the word mandarin")
    inside(work, identity, "echo two >> file; rm made; echo y > ~/note")
    written(work, identity, "mandarin")
    rows = json.loads(work.do("checkpoints", identity, "--json"))["checkpoints"]
    assert [(row["name"], row["made"]) for row in rows] == [("fruit", "operator")]

    # It goes back while it runs: in the same terminal, without a word of ours.
    rewind(work, child, identity, "", "fruit")
    work.ask(child, "and now?")
    assert "tangerine" in said(work)
    assert "mandarin" not in said(work)
    assert inside(work, identity, "cat file made ~/note") == "original\none\nkept\nx\n"

    # And on again: nothing was lost.
    rewind(work, child, identity, "before-rewind-1")
    work.ask(child, "and here?")
    assert "mandarin" in said(work)
    leave(work, child, identity)

    # Another bottle goes on from the checkpoint; the first one is not touched.
    child = work.session("fork", "claude", f"{identity}@fruit", "--yes")
    work.ask(child, "and now?")
    assert "tangerine" in said(work)
    assert "mandarin" not in said(work)
    forked = next(row["identity"] for row in work.listing() if row["identity"] != identity)
    assert inside(work, forked, "cat file made ~/note") == "original\none\nkept\nx\n"
    inside(work, forked, "echo forked >> file")
    leave(work, child, forked)

    # The first one goes back, and on from there.
    work.do("rewind", identity, "fruit")
    child = work.session("resume", identity, "--yes")
    work.ask(child, "and now?")
    assert "tangerine" in said(work)
    assert "mandarin" not in said(work)
    assert inside(work, identity, "cat file made ~/note") == "original\none\nkept\nx\n"
    leave(work, child, identity)

    # Here, too, what was there before is a checkpoint itself.
    kept = json.loads(work.do("checkpoints", identity, "--json"))["checkpoints"][-1]["name"]
    assert kept.startswith("before-")
    work.do("rewind", identity, kept)
    child = work.session("resume", identity, "--yes")
    work.ask(child, "and now?")
    assert "mandarin" in said(work)
    assert inside(work, identity, "cat file; ls; cat ~/note") == "original\none\ntwo\nclaude-bottle.json\nfile\ny\n"
    leave(work, child, identity)
    assert (work.place / "file").read_text() == "original\n"
    assert "the journal was changed" not in work.do("log", identity)
    assert work.run("log", identity, "--verify").returncode == 0


def test_a_checkpoint_is_taken_at_the_end_of_each_turn_and_goes_with_the_bottle(work: Project) -> None:
    child = work.session("start", "claude", "--yes", "--checkpoints", "2")
    identity = work.only()["identity"]

    def names() -> list[str]:
        return [row["name"] for row in json.loads(work.do("checkpoints", identity, "--json"))["checkpoints"]]

    for number, word in enumerate(("apple", "banana", "cherry"), start=1):
        work.ask(child, f"remember the word {word}")
        eventually(lambda number=number: f"turn-{number}" in names())  # type: ignore[misc]
    eventually(lambda: names() == ["turn-2", "turn-3"])
    assert "turn-3, turn-2" in work.run("rewind", identity).stderr  # none of them is the operator's
    rewind(work, child, identity, "turn-2")
    work.ask(child, "and now?")
    assert "banana" in said(work)
    assert "cherry" not in said(work)
    leave(work, child, identity)
    reasons = work.record(identity)["preserved"]
    assert "checkpoints" in reasons  # what was there before it was rewound


def test_a_fork_under_another_agent_gets_the_conversation_and_the_files_but_not_the_home(work: Project) -> None:
    child = work.session()
    work.ask(child, "remember the word tangerine")
    identity = work.only()["identity"]
    inside(work, identity, "echo one >> file; echo evil > ~/.bashrc; mkdir -p ~/.claude; echo '{}' > ~/.claude/CLAUDE.md")
    written(work, identity, "tangerine")
    leave(work, child, identity)
    child = work.session("fork", "other", identity, "--yes")
    work.ask(child, "and now?")
    assert "tangerine" in said(work)
    forked = next(row["identity"] for row in work.listing() if row["identity"] != identity)
    assert forked.startswith("other-")
    assert inside(work, forked, "cat file; ls ~/.bashrc ~/.claude/CLAUDE.md 2>&1 | grep -c 'No such'") == "original\none\n2\n"
    work.do("cleanup", identity, "--yes")  # the fork needs nothing of it
    assert inside(work, forked, "cat file") == "original\none\n"
    leave(work, child, forked)
    child = work.session("resume", forked, "--yes")
    work.ask(child, "still?")
    assert "tangerine" in said(work)
    leave(work, child, forked)


@pytest.mark.parametrize("work", ["docker"], indirect=True)
def test_a_fork_goes_on_on_another_backend_and_one_of_it_back_under_another_manifest(work: Project) -> None:
    child = work.session("start", "claude", "--yes", "--backend", "bubblewrap")
    work.ask(child, "remember the word tangerine")
    identity = work.only()["identity"]
    inside(work, identity, "echo one >> file; rm claude-bottle.json")
    written(work, identity, "tangerine")
    work.do("checkpoint", identity)
    leave(work, child, identity)
    child = work.session("fork", "claude", f"{identity}@c1", "--yes", "--backend", "docker")
    work.ask(child, "remember the word mandarin")
    assert "tangerine" in said(work)
    there = next(row["identity"] for row in work.listing() if row["identity"] != identity)
    assert inside(work, there, "cat file; ls") == "original\none\nfile\n"
    inside(work, there, "echo two >> file")

    # From there, as it is now and while it runs, to an agent of another manifest on this host.
    model = {"egress": [{"preset": "scripted-model"}], "env": {"FORKED": "yes"}}
    work.write({"version": 1, "bottles": {"b": model}, "agents": {"stranger": {"bottle": "b", "harness": "claude"}}})
    work.trust()
    written(work, there, "mandarin")
    other = work.session("fork", "stranger", there, "--yes", "--backend", "bubblewrap")
    work.ask(other, "and now?")
    assert all(word in said(work) for word in ("tangerine", "mandarin"))
    forked = next(row["identity"] for row in work.listing() if row["agent"] == "stranger")
    assert inside(work, forked, "cat file; ls; echo $FORKED") == "original\none\ntwo\nfile\nyes\n"
    assert inside(work, there, "cat file") == "original\none\ntwo\n"  # which runs on
    leave(work, other, forked)
    leave(work, child, there)


@pytest.mark.parametrize("mode", ["none", "copy", "overlay", "bind"])
def test_a_stopped_bottle_goes_back_whatever_it_works_on(project: Project, mode: str) -> None:
    bottles = {**MANIFEST["bottles"], "closed": {"workspace": {"mode": mode}}}
    project.write({**MANIFEST, "bottles": bottles})
    project.trust()
    assert project.run("run", "closed", "--keep", "--", "sh", "-c", "echo one > file; echo one > ~/note").returncode == 0
    identity = project.only()["identity"]
    project.do("checkpoint", identity, "first")
    change = "echo two > file; echo two > ~/note; sleep 1000"
    project.do("resume", identity, "--yes", "--keep", "--detach", "--", "sh", "-c", change)
    eventually(lambda: inside(project, identity, "cat ~/note") == "two\n")
    running = json.loads(project.do("checkpoint", identity, "--json"))
    assert (running["name"], running["mode"], running["identity"]) == ("c1", mode, identity)
    project.do("stop", identity)
    work = "two\n" if mode == "bind" else "one\n"  # what is live is the operator's
    for name, files, home in (("first", work, "one\n"), ("c1", "two\n", "two\n")):
        project.do("rewind", identity, name)
        project.do("resume", identity, "--yes", "--keep", "--detach", "--", "sleep", "1000")
        assert inside(project, identity, "cat file; cat ~/note") == files + home
        project.do("stop", identity)
    project.do("fork", "closed", f"{identity}@first", "--yes", "--detach", "--", "sleep", "1000")
    forked = next(row["identity"] for row in project.listing() if row["identity"] != identity)
    assert inside(project, forked, "cat file; cat ~/note") == work + "one\n"
    shown = project.do("fork", "closed", identity, "--dry-run")
    assert f"{identity}@now" in shown
    names = [line.split()[0] for line in project.do("checkpoints", identity).splitlines()[1:]]
    assert names == ["first", "c1", "before-rewind-1", "before-rewind-2"]
    project.do("stop", forked)


@pytest.mark.parametrize("project", BACKENDS, indirect=True)
def test_a_bottle_that_is_kept_only_for_its_checkpoints_keeps_its_home(project: Project) -> None:
    agent = "until test -e /tmp/go; do sleep 0.05; done"
    identity = project.do("start", "closed", "--yes", "--detach", "--", "sh", "-c", agent).split()[-1]
    project.do("checkpoint", identity)
    inside(project, identity, "echo kept > ~/note; touch /tmp/go")
    eventually(lambda: project.record(identity)["status"] == "preserved")
    assert project.record(identity)["preserved"] == ["checkpoints"]
    project.do("resume", identity, "--yes", "--keep", "--detach", "--", "sleep", "1000")
    assert inside(project, identity, "cat ~/note") == "kept\n"
    project.do("stop", identity)


def test_what_cannot_be_done_with_checkpoints_is_said(project: Project) -> None:
    assert project.run("run", "closed", "--keep", "--", "true").returncode == 0
    identity = project.only()["identity"]
    for words, said in (
        (["rewind", identity], "has no checkpoint"),
        (["rewind", identity, "nothing"], "has no checkpoint nothing"),
        (["checkpoint", identity, "../x"], "not a checkpoint's name"),
        (["fork", "closed", f"{identity}@nothing", "--yes"], "has no checkpoint nothing"),
        (["fork", "closed", "closed-000000", "--yes"], "no bottle called"),
        (["checkpoint", "closed-000000"], "no bottle called"),
    ):
        done = project.run(*words)
        assert done.returncode in (1, 2), done
        assert said in done.stderr
    project.do("checkpoint", identity, "a")
    assert "already" in project.run("checkpoint", identity, "a").stderr
    assert [row["identity"] for row in project.listing()] == [identity]
