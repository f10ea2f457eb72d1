"""A bottle's identity does not care where it runs: what one backend began goes on in another, and comes back."""

from __future__ import annotations

import json

import pexpect
import pytest

from tests.e2e.project import Project, submit
from tests.waiting import eventually

pytestmark = pytest.mark.parametrize("project", ["docker"], indirect=True)


def leave(project: Project, child: pexpect.spawn[str], identity: str) -> None:
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    project.do("stop", identity)
    eventually(lambda: not project.living(identity))
    assert project.objects() == []


def inside(project: Project, identity: str, command: str) -> str:
    return project.do("exec", identity, "--", "sh", "-c", command)


def test_a_conversation_goes_from_a_container_to_bubblewrap_and_back(project: Project) -> None:
    child = project.session()
    project.ask(child, "remember the word tangerine")
    identity = project.only()["identity"]
    assert project.only()["backend"] == "docker"
    inside(project, identity, "echo container > ~/note; mkdir ~/bin; echo pwd > ~/bin/where; chmod +x ~/bin/where")
    inside(project, identity, "echo work > note; ln -s note link")
    leave(project, child, identity)

    child = project.session("resume", identity, "--yes", "--backend", "bubblewrap")
    project.ask(child, "remember the word mandarin")
    assert project.only()["backend"] == "bubblewrap"
    assert "tangerine" in json.dumps(project.seen[-1].body["messages"])
    assert inside(project, identity, "cat ~/note link; ~/bin/where; id -un") == "container\nwork\n/workspace\nagent\n"
    inside(project, identity, "echo bubblewrap >> ~/note; echo more >> link; rm ~/bin/where")
    leave(project, child, identity)

    child = project.session("resume", identity, "--yes", "--backend", "docker")
    project.ask(child, "and now?")
    said = json.dumps(project.seen[-1].body["messages"])
    assert "tangerine" in said
    assert "mandarin" in said
    assert inside(project, identity, "cat ~/note link; pwd; ls ~/bin") == "container\nbubblewrap\nwork\nmore\n/workspace\n"
    leave(project, child, identity)
    shown = project.do("transcript", identity)
    assert all(word in shown for word in ("tangerine", "mandarin", "and now?"))


def test_an_archived_conversation_goes_on_in_a_container(project: Project) -> None:
    child = project.session("start", "claude", "--yes", "--backend", "bubblewrap")
    project.ask(child, "remember the word tangerine")
    identity = project.only()["identity"]
    submit(child, "/exit")
    child.expect(pexpect.EOF)
    assert project.listing() == []
    child = project.session("resume", identity, "--yes", "--backend", "docker")
    project.ask(child, "and now?")
    assert "tangerine" in json.dumps(project.seen[-1].body["messages"])
    leave(project, child, identity)
