"""Pushes through the gate, with a real client, a real server and real judges: whole, as judged, or not at all."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.ca import Authority
from claude_bottle.gate.tools import NoSuchThing, checked
from claude_bottle.model import pktline
from claude_bottle.model.changes import change_from_dict
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.policy import Rule
from claude_bottle.model.push import ZERO, Command
from claude_bottle.model.push_change import Finding, PushChange
from claude_bottle.values import replace
from tests.gate.forge import URL, Forge, git, rule
from tests.git_remote import HOST, TOKEN, at_each_update

Make = Callable[..., Forge]
SECRET = "ghp_" + base64.b32encode(b"not a real token, 1234567").decode()[:36]


@pytest.fixture
def make(tmp_path: Path, authority: Authority) -> Iterator[Make]:
    made: list[Forge] = []

    def build(*rules: Rule, **more: Any) -> Forge:
        made.append(Forge(tmp_path, authority, *rules, **more))
        made[-1].clone()
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def forge(make: Make) -> Forge:
    return make()


def refused(forge: Forge, *words: str, said: str) -> None:
    """A push that must be refused: git says why, the journal says why, the remote has nothing of it."""
    before, arrived = forge.refs(), len(forge.remote.pushes())
    done = forge.run("push", *words)
    assert done.returncode != 0
    assert any(said in line for line in done.stderr.splitlines() if line.startswith("remote: ")), done.stderr
    assert "[remote rejected]" in done.stderr
    assert forge.refs() == before
    assert len(forge.remote.pushes()) == arrived
    told = forge.decisions()[-1]
    assert (told["allow"], told["reason"]) == (False, "push_refused")
    assert said in told["detail"]
    assert told["push"]["repository"] == "acme/shop"


def test_a_push_to_a_granted_branch_arrives_as_it_was_made(forge: Forge) -> None:
    new = forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert done.returncode == 0, done.stderr
    assert forge.refs()["refs/heads/bottle/x"] == new
    git(forge.bare, "fsck", "--strict", "--full")
    told = forge.decisions()[-1]
    assert told["allow"] is True
    assert told["push"]["commands"] == [{"old": ZERO, "new": new, "ref": "refs/heads/bottle/x"}]
    assert (told["push"]["commits"], told["push"]["objects"]) == (1, 3)
    assert forge.remote.pushes()[0].body.startswith(b"00")
    assert forge.bench.faults == []


def test_a_branch_goes_on_push_after_push(forge: Forge) -> None:
    for number in range(3):
        new = forge.commit(content=f"{number}\n", branch="bottle/x" if number == 0 else "")
        forge.do("push", "origin", "bottle/x")
        assert forge.refs()["refs/heads/bottle/x"] == new


def test_a_large_push_arrives_in_chunks_and_whole(forge: Forge) -> None:
    import random

    new = forge.commit("large", random.Random(7).randbytes(6 << 20), branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new
    git(forge.bare, "fsck", "--strict", "--full")


def test_several_refs_and_a_tag_arrive_together(make: Make) -> None:
    forge = make(rule(push=("refs/heads/bottle/*", "refs/tags/v*")))
    forge.commit(branch="bottle/x")
    forge.do("tag", "-a", "-m", "one", "v1")
    forge.do("push", "origin", "bottle/x", "bottle/x:bottle/y", "v1")
    assert {"refs/heads/bottle/x", "refs/heads/bottle/y", "refs/tags/v1"} <= forge.refs().keys()


def test_a_shallow_clone_pushes_too(make: Make) -> None:
    forge = make(commits=5)
    forge.do("clone", "--quiet", "--depth=1", "--no-local", URL, str(forge.place / "shallow"))
    forge.agent = forge.place / "shallow"
    new = forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new


def test_the_first_push_to_an_empty_repository_works(tmp_path: Path, authority: Authority) -> None:
    forge = Forge(tmp_path, authority, commits=0)
    try:
        forge.do("clone", "--quiet", URL, str(forge.agent))
        new = forge.commit(branch="bottle/x")
        forge.do("push", "origin", "bottle/x")
        assert forge.refs() == {"refs/heads/bottle/x": new}
    finally:
        forge.close()


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/main", "refs/heads/other", "refs/tags/v1", "refs/notes/commits", "refs/replace/" + "1" * 40, "refs/stash",
        "refs/pull/1/head", "refs/heads/Bottle/x", "refs/heads/bottlex", "refs/meta/config", "refs/for/main",
    ],
)  # fmt: skip
def test_case_81_a_ref_that_is_not_listed_is_refused_before_the_remote_hears_of_it(forge: Forge, ref: str) -> None:
    forge.commit(branch="bottle/x")
    asked = len(forge.remote.arrived) + 1  # the client's own question what there is
    refused(forge, "origin", f"HEAD:{ref}", said="this ref may not be pushed; granted: refs/heads/bottle/*")
    assert len(forge.remote.arrived) == asked


def test_case_82_history_is_not_rewritten_unless_that_is_granted(forge: Forge, authority: Authority) -> None:
    forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    forge.do("commit", "--quiet", "--amend", "-m", "another")
    refused(forge, "--force", "origin", "bottle/x", said="not a fast-forward")
    forge.gate.state.replace_policy([rule(force=True)], revision=2)
    forge.do("push", "--force", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == forge.do("rev-parse", "HEAD")


def test_case_82_a_ref_is_not_deleted_unless_that_is_granted(forge: Forge) -> None:
    forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    refused(forge, "origin", ":bottle/x", said="deleting refs is not granted")
    forge.gate.state.replace_policy([rule(delete=True)], revision=2)
    forge.do("push", "origin", ":bottle/x")
    assert "refs/heads/bottle/x" not in forge.refs()


def test_case_82_a_push_is_judged_against_what_the_remote_has_now(forge: Forge) -> None:
    first = forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")
    second = forge.commit(content="two\n")
    forge.do("push", "origin", "bottle/x")
    third = forge.commit(content="three\n")
    git(forge.bare, "update-ref", "refs/heads/bottle/x", first)
    pack = forge.pack(third, f"^{second}")
    answer = forge.post(pktline.line(f"{second} {third} refs/heads/bottle/x\0report-status side-band-64k".encode()), pack)
    assert b"the remote has something else there: fetch first" in answer
    assert forge.refs()["refs/heads/bottle/x"] == first


def test_case_83_one_bad_ref_refuses_the_whole_push(forge: Forge) -> None:
    forge.commit(branch="bottle/x")
    refused(forge, "origin", "bottle/x", "bottle/x:main", said="refs/heads/main: this ref may not be pushed")
    forge.do("push", "origin", "bottle/x")
    forge.do("checkout", "--quiet", "-B", "bottle/y")
    forge.commit("more")
    forge.do("branch", "-f", "bottle/x", forge.commit("orphan", branch="bottle/z"))
    forge.do("commit", "--amend", "--quiet", "-m", "rewritten")
    forge.do("push", "origin", "bottle/z")
    forge.do("commit", "--amend", "--quiet", "-m", "again")
    refused(forge, "--force", "origin", "bottle/y", "bottle/z", said="not a fast-forward")


def test_case_84_every_commit_a_new_branch_drags_along_is_judged(forge: Forge) -> None:
    forge.commit("config", f"token = {SECRET}\n", branch="bottle/x")
    forge.commit("config", "token = removed\n")
    refused(forge, "origin", "bottle/x", said="it looks like secrets are in it: config line 1: github-pat")


def test_case_84_what_the_remote_has_elsewhere_is_not_judged_again(forge: Forge) -> None:
    seed = forge.place / "seed"
    git(forge.place, "clone", "--quiet", str(forge.bare), str(seed))
    (seed / ".github" / "workflows").mkdir(parents=True)
    (seed / ".github" / "workflows" / "ci.yml").write_text("on: push\n")
    git(seed, "add", ".")
    git(seed, "commit", "--quiet", "-m", "ci")
    git(seed, "push", "--quiet", "origin", "HEAD:main")
    forge.commit(branch="bottle/x")
    forge.do("pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main")
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == forge.do("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "name",
    [
        ".github/workflows/ci.yml", ".gitlab-ci.yml", ".devcontainer/devcontainer.json", ".husky/pre-commit",
        ".gitattributes", ".vscode/tasks.json", ".GitHub/Workflows/x.yml", "sub/.envrc",
    ],
)  # fmt: skip
def test_case_90_what_runs_by_itself_needs_an_approval_of_its_own(forge: Forge, name: str) -> None:
    forge.commit(name, branch="bottle/x")
    refused(forge, "origin", "bottle/x", said=f"which needs the operator's approval: {trigger_of(name)}: {name}")


def test_case_90_a_push_is_asked_for_once_with_all_it_changes_and_passes_when_it_is_approved(forge: Forge) -> None:
    new = forge.commit(".github/workflows/ci.yml", "on: push\n", branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="asked as q-1: once it is granted, push the same commits again")
    change = change_from_dict(forge.asked[0]["change"])
    assert isinstance(change, PushChange)
    assert change.triggers == (("ci", ".github/workflows/ci.yml"),)
    assert "+on: push" in change.diff
    assert change.commands == (Command(ZERO, new, "refs/heads/bottle/x"),)
    forge.gate.state.replace_policy([rule(), change.rule], revision=2)
    forge.commit(".github/workflows/ci.yml", "on: another\n")
    refused(forge, "origin", "bottle/x", said="asked as q-2")  # what was approved are other commits
    refused(forge, "origin", f"{new}:refs/heads/bottle/y", said="asked as q-3")  # and another ref
    forge.do("push", "origin", f"{new}:refs/heads/bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new


def test_an_approval_grants_nothing_but_the_answer_to_its_question(make: Make) -> None:
    forge = make(rule(push=()))
    new = forge.commit(".github/workflows/ci.yml", f"token: {SECRET}\n", branch="bottle/x")
    change = PushChange(HOST, 443, "acme/shop", (Command(ZERO, new, "refs/heads/bottle/x"),), (("ci", "a"),), "d")
    forge.gate.state.replace_policy([rule(push=()), change.rule], revision=2)
    assert "may not be pushed to here" in forge.run("push", "origin", "bottle/x").stderr
    forge.gate.state.replace_policy([rule(), change.rule], revision=3)
    refused(forge, "origin", "bottle/x", said="it looks like secrets are in it")


def test_what_looks_like_a_secret_passes_once_the_operator_says_of_that_very_finding_that_it_is_none(forge: Forge) -> None:
    new = forge.commit("config", f"\ntoken = {SECRET}\n", branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="config line 2: github-pat")
    assert "asked as q-1" in forge.decisions()[-1]["detail"]
    change = change_from_dict(forge.asked[0]["change"])
    assert isinstance(change, PushChange)
    blob = forge.do("rev-parse", "HEAD:config")
    assert change.secrets == (Finding("github-pat", "config line 2", SECRET[:8], f"github-pat:{blob}:2"),)
    assert (change.triggers, change.diff) == ((), "")
    assert SECRET not in json.dumps(forge.heard)
    forge.gate.state.replace_policy([rule(), change.rule], revision=2)
    forge.do("push", "origin", "bottle/x")
    assert forge.refs()["refs/heads/bottle/x"] == new
    forge.commit("another", f"token = {SECRET}\n")
    refused(forge, "origin", "bottle/x", said="another line 1: github-pat")


def test_a_finding_let_through_lets_no_other_finding_and_no_file_that_runs_by_itself_through(forge: Forge) -> None:
    new = forge.commit(".envrc", f"token={SECRET}\n", branch="bottle/x")
    commands = (Command(ZERO, new, "refs/heads/bottle/x"),)
    blob = forge.do("rev-parse", "HEAD:.envrc")
    here, elsewhere = (Finding("github-pat", "x", "", f"github-pat:{blob}:{line}") for line in (1, 2))
    another = PushChange(HOST, 443, "acme/shop", commands, (), "", (elsewhere,))
    forge.gate.state.replace_policy([rule(), another.rule], revision=2)
    refused(forge, "origin", "bottle/x", said=".envrc line 1: github-pat")
    asked = change_from_dict(forge.asked[-1]["change"])
    assert isinstance(asked, PushChange)
    assert (len(asked.secrets), asked.triggers) == (1, (("shell", ".envrc"),))
    this = PushChange(HOST, 443, "acme/shop", commands, (), "", (here,))
    forge.gate.state.replace_policy([rule(), this.rule], revision=3)
    refused(forge, "origin", "bottle/x", said="needs the operator's approval: shell: .envrc")
    forge.gate.state.replace_policy([rule(), asked.rule], revision=4)
    forge.do("push", "origin", "bottle/x")


def test_an_approval_for_one_use_is_good_for_one_push(forge: Forge) -> None:
    new = forge.commit(".envrc", branch="bottle/x")
    change = PushChange(HOST, 443, "acme/shop", (Command(ZERO, new, "refs/heads/bottle/x"),), (("shell", ".envrc"),), "d")
    marked = replace(change.rule, origin="grant g-1")
    forge.gate.state.replace_policy([rule(delete=True), marked], revision=2, once=["g-1"])
    forge.do("push", "origin", "bottle/x")
    forge.do("push", "origin", ":bottle/x")
    refused(forge, "origin", "bottle/x", said="asked as q-1")
    assert [one["grant"] for one in forge.heard if one["op"] == "used"] == ["g-1"]


def test_a_push_whose_question_is_turned_away_is_told_why(forge: Forge) -> None:
    forge.answer = "rejected"
    forge.commit(".envrc", branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="no, said the operator")


def test_what_is_too_long_to_be_shown_whole_is_not_asked_for(forge: Forge) -> None:
    forge.commit(".github/workflows/ci.yml", "a: b\n" * 500, branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="too long to be shown whole")
    assert forge.asked == []


def test_an_agent_cannot_ask_for_a_push_by_its_own_words(forge: Forge) -> None:
    change = PushChange(HOST, 443, "acme/shop", (Command(ZERO, "1" * 40, "refs/heads/bottle/x"),), (("ci", "README"),), "d")
    with pytest.raises(NoSuchThing, match="a push is asked for by pushing"):
        checked(change.to_dict(), forge.gate.state)


def trigger_of(name: str) -> str:
    from claude_bottle.workspace.triggers import of_pushed

    return of_pushed(name)[0]


def test_case_90_a_trigger_in_a_commit_that_the_next_one_takes_back_counts(forge: Forge) -> None:
    forge.commit(".github/workflows/ci.yml", branch="bottle/x")
    forge.do("rm", "--quiet", ".github/workflows/ci.yml")
    forge.do("commit", "--quiet", "-m", "gone")
    refused(forge, "origin", "bottle/x", said="ci: .github/workflows/ci.yml")


def test_case_91_what_a_remote_says_to_a_push_is_shown_without_its_teeth(forge: Forge) -> None:
    at_each_update(forge.bare, 'printf "hook \\033]52;c;AAAA\\007 \\033[2J \\302\\233m\\n" >&2; exit 1')
    forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert "remote: hook \\x1b]… \\x1b[2J \\x9bm" in done.stderr
    assert "hook declined" in done.stderr
    assert "\x1b" not in done.stderr.replace("\x1b[K", "")
    assert "\x9b" not in done.stderr


def test_case_91_escapes_in_names_messages_and_authors_reach_neither_side(forge: Forge) -> None:
    forge.do("checkout", "--quiet", "-B", "bottle/x")
    forge.do("commit", "--quiet", "--allow-empty", "-m", "\x1b]0;owned\x07 message", GIT_AUTHOR_NAME="\x1b[31mred")
    forge.do("push", "origin", "HEAD:refs/heads/bottle/x")
    done = forge.run("push", "origin", "HEAD:refs/heads/b\u202ed")
    assert "this is no push" in done.stderr or "HTTP 400" in done.stderr
    assert "\x1b" not in json.dumps(forge.decisions(), ensure_ascii=False)


def test_a_push_larger_than_granted_is_refused_and_the_client_hears_why(make: Make) -> None:
    import random

    forge = make(rule(max_pack=1 << 20))
    forge.commit("large", random.Random(7).randbytes(3 << 20), branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="larger than 1048576 bytes")


def test_the_credential_never_comes_down_not_even_from_a_remote_that_says_it(forge: Forge) -> None:
    at_each_update(forge.bare, f'echo "your token is {TOKEN}" >&2')
    forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert "your token is [redacted]" in done.stderr
    assert TOKEN not in done.stderr


def test_a_remote_that_refuses_the_credential_is_named_as_the_reason(forge: Forge) -> None:
    forge.commit(branch="bottle/x")
    forge.remote.token = "another"
    done = forge.run("push", "origin", "bottle/x")
    assert done.returncode != 0
    assert forge.refs().keys() == {"refs/heads/main"}


def test_a_grant_that_ends_while_a_push_is_judged_ends_the_push(forge: Forge) -> None:
    forge.commit(branch="bottle/x")
    forge.remote.before["git-upload-pack"] = lambda: forge.gate.state.replace_policy([rule(push=())], revision=2)
    refused(forge, "origin", "bottle/x", said="it is not granted any more")


def test_where_no_judge_can_be_had_nothing_is_pushed(make: Make) -> None:
    forge = make(judges=False)
    forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert "remote: claude-bottle: push_refused: nothing could be pushed by any rule when this bottle began" in done.stderr
    assert forge.refs().keys() == {"refs/heads/main"}


def test_a_judge_that_dies_refuses_the_push(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_bottle.keeper.judges._START", "import sys; sys.exit(3)")
    forge.commit(branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="the judge of pushes failed; the operator must look")


def test_without_gitleaks_on_the_host_nothing_is_pushed(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_bottle.keeper.judges.find_gitleaks", lambda: None)
    forge.commit(branch="bottle/x")
    refused(forge, "origin", "bottle/x", said="gitleaks is not installed on the host")


COMMAND = pktline.line(f"{ZERO} {'1' * 40} refs/heads/bottle/x\0report-status side-band-64k".encode())


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (b"hello", b"not a pkt-line"),
        (b"0003", b"packet"),
        (b"fff1" + b"x" * 70000, b"longer than 65520"),
        (pktline.line(b"x" * 60000) * 3, b"too long"),
        (pktline.line(b"push-cert\0push-options\n"), b"signed pushes"),
        (b"00", b"not a pkt-line"),
        (pktline.line(b"1" * 40 + b" refs/heads/bottle/x\0report-status"), b"a command that is none"),
        (pktline.line(f"{ZERO} {'1' * 40} refs/heads/bottle/x\0report-status push-options".encode()), b"push options"),
        (pktline.line(f"{ZERO} {'1' * 64} refs/heads/bottle/x\0object-format=sha256".encode()), b"a command that is none"),
        (pktline.line(f"{ZERO}{'0' * 24} {'1' * 64} refs/heads/bottle/x\0".encode()), b"of another kind than it says"),
        (pktline.line(f"{ZERO} {'1' * 40} refs/heads/bottle/x\0object-format=sha256".encode()), b"of another kind than"),
        (COMMAND + pktline.line(f"{ZERO} {'2' * 40} refs/heads/bottle/x".encode()), b"the same ref twice"),
        (pktline.line(f"{ZERO} {ZERO} refs/heads/bottle/x\0".encode()), b"changes nothing"),
        (b"".join(pktline.line(f"{ZERO} {'1' * 40} refs/heads/bottle/{n}".encode()) for n in range(40)), b"more than 32"),
    ],
    ids=range(14),
)
def test_case_85_commands_that_are_none_are_refused_before_the_remote_hears_of_them(
    forge: Forge, commands: bytes, said: bytes
) -> None:
    before = len(forge.remote.arrived)
    answer = forge.post(commands + (b"x" if commands == b"00" else b""), b"PACK")
    assert answer.startswith(b"HTTP/1.1 400")
    assert said in answer
    assert len(forge.remote.arrived) == before


@pytest.mark.parametrize(
    "pack",
    [b"", b"PACK", b"PACK\0\0\0\2\0\0\0\1", b"KCAP" + b"\0" * 40, b"PACK\0\0\0\2\xff\xff\xff\xff" + b"\0" * 60, b"0000PACK",
     b"\x1f\x8b" * 30],
    ids=range(7),
)  # fmt: skip
def test_case_85_a_pack_that_is_none_is_refused(forge: Forge, pack: bytes) -> None:
    answer = forge.post(COMMAND, pack)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"ng refs/heads/bottle/x" in answer
    assert forge.remote.pushes() == []


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Encoding: gzip", "Content-Type: application/x-git-receive-pack-request"],
        ["Content-Type: text/plain"], [],
        ["Content-Type: application/x-git-receive-pack-request", "Content-Type: application/x-git-receive-pack-request"],
    ],
)  # fmt: skip
def test_case_85_a_compressed_or_mislabelled_push_is_refused(forge: Forge, headers: list[str]) -> None:
    before = len(forge.remote.arrived)
    assert forge.post(COMMAND, b"PACK", headers=headers).startswith(b"HTTP/1.1 400")
    assert len(forge.remote.arrived) == before


def test_a_repository_with_sha256_ids_is_fetched_and_a_push_to_it_is_refused_in_words(forge: Forge) -> None:
    bare, seed = forge.bare.parent / "long.git", forge.place / "long"
    git(forge.place, "init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", str(bare))
    git(forge.place, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", str(seed))
    git(seed, "commit", "--quiet", "--allow-empty", "-m", "one")
    git(seed, "push", "--quiet", str(bare), "main")
    forge.gate.state.replace_policy([rule(repositories=("acme/long",))], revision=2)
    forge.agent = forge.place / "clone"
    forge.clone(url=URL.replace("shop", "long"))
    assert forge.do("rev-parse", "origin/main") == git(seed, "rev-parse", "HEAD")
    forge.do("commit", "--quiet", "--allow-empty", "-m", "two")
    done = forge.run("push", "origin", "HEAD:refs/heads/bottle/x")
    assert "remote:   refs/heads/bottle/x: repositories with SHA-256 ids can be fetched, but not pushed to" in done.stderr
    assert git(bare, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_the_question_whether_one_may_push_is_answered_here(forge: Forge) -> None:
    before = len(forge.remote.arrived)
    answer = forge.post(b"", b"")
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(forge.remote.arrived) == before


@pytest.mark.parametrize(
    "advert", [b"", b"0000", b"001f# service=git-receive-pack\n0000", b"\xff" * 100,
               b"001f# service=git-receive-pack\n0000" + pktline.line(b"zzz refs/heads/main") + b"0000",
               b"001f# service=git-receive-pack\n0000" + pktline.line(b"1" * 40 + b" a\0object-format=sha256") + b"0000"],
    ids=range(6),
)  # fmt: skip
def test_a_remote_that_does_not_say_what_it_has_is_not_pushed_to(forge: Forge, advert: bytes) -> None:
    forge.remote.answers["info/refs?service=git-receive-pack"] = advert
    answer = forge.post(COMMAND, b"PACK")
    assert b"ng refs/heads/bottle/x" in answer
    assert forge.remote.pushes() == []


@pytest.mark.parametrize(
    "history",
    [b"", b"0000", b"0008NAK\n", b"0008NAK\n0009\x02hi..", pktline.line(b"ERR no"), b"junk" * 30,
     b"0008NAK\n" + pktline.banded(1, b"PACK" + b"\0" * 50) + b"0000"],
    ids=range(7),
)  # fmt: skip
def test_a_remote_whose_history_cannot_be_read_is_not_pushed_to(forge: Forge, history: bytes) -> None:
    forge.commit(branch="bottle/x")
    forge.remote.answers["git-upload-pack"] = history
    done = forge.run("push", "origin", "bottle/x")
    assert "remote: claude-bottle: the push is refused, all of it:" in done.stderr
    assert forge.remote.pushes() == []


@pytest.mark.parametrize(
    "answer", [b"", b"junk", pktline.line(b"unpack ok\n") + b"0000", pktline.banded(1, b"000eunpack ok\n0000") + b"0000"],
    ids=range(4),
)  # fmt: skip
def test_an_answer_to_a_push_that_cannot_be_read_is_told_as_that(forge: Forge, answer: bytes) -> None:
    forge.commit(branch="bottle/x")
    forge.remote.answers["/git-receive-pack"] = answer
    done = forge.run("push", "origin", "bottle/x")
    assert done.returncode != 0
    assert "the remote did not answer" in done.stderr or "the remote says nothing of it" in done.stderr


def test_grants_of_two_rules_do_not_mix(make: Make) -> None:
    one = Rule(HOST, credential="github", git=GitGrant(("acme/shop",), push=("refs/heads/bottle/*",)))
    two = Rule(HOST, git=GitGrant(("acme/other",), push=("refs/heads/main",), force=True))
    forge = make(one, two)
    forge.commit(branch="bottle/x")
    refused(forge, "origin", "HEAD:main", said="this ref may not be pushed")


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(forge: Forge, bottle_trust: ssl.SSLContext) -> None:
    sock = forge.gate.tunnel(bottle_trust, HOST)
    sock.sendall(head(1000) + COMMAND + b"0000PACK")
    sock.close()
    forge.commit(branch="bottle/x")
    forge.do("push", "origin", "bottle/x")  # the next one is served
    assert len(forge.remote.pushes()) == 1


def head(length: int) -> bytes:
    lines = ["POST /acme/shop.git/git-receive-pack HTTP/1.1", f"Host: {HOST}", f"Content-Length: {length}",
             "Content-Type: application/x-git-receive-pack-request", "", ""]  # fmt: skip
    return "\r\n".join(lines).encode()
