"""A push that waits: sound when it exists, small enough to be shown, and no grant of anything."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bottle.model.changes import change_from_dict, narrower, stored, within
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.policy import Policy, Rule
from claude_bottle.model.push import ZERO, Command
from claude_bottle.model.push_change import MAX_DIFF, Finding, PushChange
from claude_bottle.model.requests import Grant, Request
from claude_bottle.supervise.render import lines, title
from claude_bottle.supervise.summary import summary

HOST, NEW = "git.example.com", "a1" * 20
COMMANDS = (Command(ZERO, NEW, "refs/heads/bottle/x"),)


def change(**more: Any) -> PushChange:
    said: dict[str, Any] = {"host": HOST, "port": 443, "repository": "acme/shop", "commands": COMMANDS,
                            "triggers": (("ci", ".github/workflows/ci.yml"),), "diff": "+on: push"}  # fmt: skip
    return PushChange(**{**said, **more})


def test_it_survives_being_written_and_read() -> None:
    one = change()
    assert change_from_dict(one.to_dict()) == one
    assert stored(one.to_dict()) == one
    request = Request("q-1", "shell-abc123", "l", one)
    assert Request.from_dict(request.to_dict()) == request
    grant = Grant("g-1", "q-1", one, "session", "")
    assert Grant.from_dict(grant.to_dict()) == grant
    assert [rule.git.approved for rule in grant.rules if rule.git] == [(NEW,)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "localhost"}, {"host": "*"}, {"port": 80}, {"repository": "../x"}, {"commands": ()}, {"triggers": ()},
        {"commands": (Command(ZERO, "main", "refs/heads/bottle/x"),)}, {"commands": (Command(ZERO, NEW, "refs/notes/x"),)},
        {"diff": "x" * (MAX_DIFF + 1)}, {"diff": "\n" * 500}, {"diff": "\x1b[31m"}, {"diff": "\u202e"},
        {"triggers": (("ci", "a\x07"),)}, {"triggers": tuple(("ci", str(n)) for n in range(99))},
        {"triggers": (("ci", "a" * 999),)},
    ],
    ids=range(15),
)  # fmt: skip
def test_what_cannot_be_shown_whole_or_makes_no_sense_does_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        change_from_dict({**change().to_dict(), **PushChange.to_dict(change(**wrong))})


def test_an_approval_is_no_grant_and_no_grant_is_an_approval() -> None:
    approval, grant = change().rule, Rule(HOST, git=GitGrant(("acme/shop",), push=("refs/heads/bottle/*",)))
    policy = Policy([approval])
    for service in ("git-receive-pack", "git-upload-pack"):
        assert not policy.request(HOST, 443, "POST", f"/acme/shop/{service}", tls=True).allow
    assert not within(approval, grant)
    assert not within(Rule(HOST), grant)
    assert not within(grant, Rule(HOST))
    assert grant.git is not None
    assert not grant.git.approves("acme/shop", COMMANDS)


def test_other_commits_refs_and_repositories_are_not_approved() -> None:
    approved = change().rule.git
    assert approved is not None
    assert approved.approves("acme/shop", COMMANDS)
    for repository, command in (
        ("acme/other", COMMANDS[0]), ("acme/shop", Command(ZERO, "b2" * 20, "refs/heads/bottle/x")),
        ("acme/shop", Command(ZERO, NEW, "refs/heads/bottle/y")),
    ):  # fmt: skip
        assert not approved.approves(repository, [command])
    assert not approved.approves("acme/shop", [*COMMANDS, Command(ZERO, "b2" * 20, "refs/heads/bottle/x")])


KEY = f"github-pat:{'c3' * 20}:7"
SECRETS = (Finding("github-pat", "config line 7", "ghp_0aB1", KEY),)


def test_what_looks_like_a_secret_is_shown_and_named_and_let_through_by_name_alone() -> None:
    one = change(secrets=SECRETS, triggers=(), diff="")
    assert change_from_dict(one.to_dict()) == one
    assert title(one) == "a push with what looks like a secret"
    shown = "".join(line.removeprefix("      ") for line in lines(one))
    for word in ("LOOKS LIKE A SECRET", "config line 7", "github-pat", "ghp_0aB1", KEY):
        assert word in shown
    approved = one.rule.git
    assert approved is not None
    assert (approved.let_through, approved.lifts_files) == ((KEY,), False)
    both = change(secrets=SECRETS).rule.git
    assert both is not None
    assert both.lifts_files and KEY in both.let_through
    assert GitGrant.from_dict(both.to_dict()) == both
    assert not both.covers(approved)


@pytest.mark.parametrize(
    "wrong",
    [
        (), tuple(SECRETS * 11), (Finding("github-pat", "x\x1b", "g", KEY),), (Finding("other", "x", "g", KEY),),
        (Finding("github-pat", "x", "g", ""),), (Finding("github-pat", "x" * 999, "g", KEY),),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_finding_that_cannot_be_shown_or_named_cannot_be_asked_for(wrong: tuple[Finding, ...]) -> None:
    with pytest.raises(ValueError):
        change(secrets=wrong, triggers=(), diff="")


@pytest.mark.parametrize("words", [["x"], ["github-pat:1:2"], [KEY], 5])
def test_findings_are_let_through_by_whole_names_and_in_approved_commits_alone(words: Any) -> None:
    with pytest.raises(ValueError):
        GitGrant(("acme/shop",), push=("refs/heads/x",), let_through=words)


def test_it_is_shown_whole() -> None:
    shown = "".join(line.removeprefix("      ") for line in lines(change()))
    for word in (HOST, "acme/shop", "refs/heads/bottle/x", NEW, ".github/workflows/ci.yml", "+on: push"):
        assert word in shown
    assert title(change()) == "a push that changes what runs by itself"
    assert summary(change().to_dict()) == "push acme/shop x"
    assert narrower(change(), change())
    assert not narrower(change(diff="+other"), change())
