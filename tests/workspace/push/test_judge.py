"""The judge, in its own confined process, on packs of real git and by hand: what it lets through is what it judged."""

from __future__ import annotations

import base64
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.push import ZERO, Command
from tests.git_remote import CLEAN, git
from tests.workspace.push import packs
from tests.workspace.push.court import GRANT, Court
from tests.workspace.push.packs import BLOB, COMMIT, REF_DELTA, TREE, entry, pack

TOKEN = "ghp_" + base64.b32encode(b"not a real token, 1234567").decode()[:36]
REF = "refs/heads/bottle/x"


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path)
    yield made
    made.close()


def refused(court: Court, why: str, *words: object, **more: object) -> None:
    verdict = court.judge(*words, **more)  # type: ignore[arg-type]
    assert not verdict["allow"]
    assert why in " ".join(verdict["why"]), verdict
    assert court.faults == []


def by_hand(court: Court, *entries: tuple[bytes, bytes, bytes], message: bytes = b"x\n") -> tuple[str, bytes]:
    """A commit on main of a tree with these (mode, name, content); its id, and the pack."""
    blobs = [entry(BLOB, content) for _, _, content in entries]
    tree = packs.tree(*((mode.decode(), name, packs.object_id(BLOB, content)) for mode, name, content in entries))
    commit = packs.commit(packs.object_id(TREE, tree), court.tips()["refs/heads/main"], message=message)
    return packs.object_id(COMMIT, commit), pack(*blobs, entry(TREE, tree), entry(COMMIT, commit))


def crafted(court: Court, why: str, *entries: tuple[bytes, bytes, bytes], **more: bytes) -> None:
    new, made = by_hand(court, *entries, **more)
    refused(court, why, commands=(Command(ZERO, new, REF),), pack=made)


def test_new_commits_are_judged_and_packed_anew(court: Court) -> None:
    new = court.commit("work", "work\n")
    verdict = court.judge()
    assert verdict["allow"], verdict
    assert (verdict["commits"], verdict["objects"], verdict["paths"]) == (1, 3, 1)
    assert len(verdict["pack"]) == verdict["size"]
    argv = ["git", "-C", str(court.remote), "index-pack", "--stdin", "--fix-thin", "--strict"]
    subprocess.run(argv, input=verdict["pack"], env=CLEAN, check=True, capture_output=True)
    assert git(court.remote, "cat-file", "-t", new) == "commit"
    assert court.faults == []


def test_the_remotes_history_is_fetched_once_and_then_only_what_is_new(court: Court) -> None:
    court.commit("work")
    assert court.judge()["allow"]
    assert court.judge()["allow"]
    assert len(court.fetched) == 1
    git(court.client, "push", "--quiet", "origin", "HEAD:main")
    court.commit("more")
    assert court.judge()["allow"]
    assert len(court.fetched) == 2
    assert b"have " in court.fetched[1]


def test_a_branch_on_what_the_remote_has_already_needs_no_object(court: Court) -> None:
    verdict = court.judge(pack=pack())
    assert verdict["allow"], verdict
    assert (verdict["commits"], verdict["objects"]) == (0, 0)


def test_what_was_judged_lies_in_no_place_that_the_next_judge_believes(court: Court) -> None:
    new = court.commit("work")
    assert court.judge()["allow"]
    refused(court, "neither in it nor at the remote", commands=(Command(ZERO, new, REF),), pack=pack())


# Reach


def test_case_84_an_object_that_no_ref_leads_to_is_refused(court: Court) -> None:
    new, _ = by_hand(court, (b"100644", b"a", b"a\n"))
    entries = [entry(BLOB, b"a\n"), entry(BLOB, b"unseen: " + TOKEN.encode())]
    tree = packs.tree(("100644", b"a", packs.object_id(BLOB, b"a\n")))
    commit = packs.commit(packs.object_id(TREE, tree), court.tips()["refs/heads/main"], message=b"x\n")
    made = pack(*entries, entry(TREE, tree), entry(COMMIT, commit))
    refused(court, "1 objects came with it that none of its refs leads to", commands=(Command(ZERO, new, REF),), pack=made)


def test_case_84_objects_that_are_missing_everywhere_are_a_refusal(court: Court) -> None:
    absent = packs.object_id(BLOB, b"absent\n")
    tree = packs.tree(("100644", b"a", absent))
    commit = packs.commit(packs.object_id(TREE, tree), court.tips()["refs/heads/main"])
    made = pack(entry(TREE, tree), entry(COMMIT, commit))
    command = Command(ZERO, packs.object_id(COMMIT, commit), REF)
    refused(court, "", commands=(command,), pack=made)
    orphan = packs.commit(packs.object_id(TREE, b""), "1" * 40)
    command = Command(ZERO, packs.object_id(COMMIT, orphan), REF)
    refused(court, "", commands=(command,), pack=pack(entry(TREE, b""), entry(COMMIT, orphan)))


def test_case_87_an_object_of_another_repository_of_the_host_is_not_found(court: Court) -> None:
    """As an alternates file of the bottle, or a delta against it, would have it."""
    other = court.place / "other"
    git(court.place, "init", "--quiet", str(other))
    (other / "canary").write_text("canary of the operator\n" * 20)
    git(other, "add", ".")
    git(other, "commit", "--quiet", "-m", "private")
    blob, tree, commit = (git(other, "rev-parse", f"HEAD{end}") for end in (":canary", "^{tree}", ""))
    (court.client / ".git" / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
    refused(court, "neither in it nor at the remote", commands=(Command(ZERO, commit, REF),), pack=pack())
    against = entry(REF_DELTA, packs.delta(460, 400, packs.copied(0, 400)), base=blob)
    refused(court, "git's own checks refuse it", commands=(Command(ZERO, commit, REF),), pack=pack(against))
    assert tree
    again = court.commit("plain")
    git(court.client, "update-index", "--add", "--cacheinfo", f"100644,{blob},stolen")
    git(court.client, "commit", "--quiet", "-m", "stolen")
    verdict = court.judge()  # the client's own git packs it: in a bottle there is no such path to read it from
    assert verdict["allow"], verdict
    assert again


def test_case_82_a_branch_does_not_lose_commits(court: Court) -> None:
    first = court.commit("work")
    git(court.client, "push", "--quiet", "origin", f"HEAD:{REF}")
    git(court.client, "commit", "--quiet", "--amend", "-m", "rewritten")
    refused(court, "not a fast-forward")
    forced = GitGrant(GRANT.repositories, push=GRANT.push, force=True)
    assert court.judge(grant=forced)["allow"]
    assert court.tips()[REF] == first


def test_a_branch_is_a_commit_and_a_tag_stays(court: Court) -> None:
    blob = git(court.client, "rev-parse", "HEAD:README")
    refused(court, "it is not a commit but blob", commands=(Command(ZERO, blob, REF),), pack=pack())
    tree = git(court.client, "rev-parse", "HEAD^{tree}")
    refused(court, "it is not a commit but tree", commands=(Command(ZERO, tree, "refs/tags/v1"),), pack=pack())
    git(court.client, "tag", "-a", "-m", "one", "v1")
    assert court.judge("v1", "refs/tags/v1")["allow"]
    refused(court, "it is not a commit but tag", "v1", REF)
    git(court.client, "push", "--quiet", "origin", "v1")
    court.commit("more")
    git(court.client, "tag", "-f", "-a", "-m", "two", "v1")
    refused(court, "a tag is not moved", "v1", "refs/tags/v1")


# Packs


@pytest.mark.parametrize("name", [b".git", b".GIT", b".git ", b"git~1", b"..", b".", b"a/b", b"", b".g\xe2\x80\x8cit"])
def test_case_85_a_name_that_git_refuses_is_refused(court: Court, name: bytes) -> None:
    crafted(court, "git's own checks refuse it", (b"100644", name, b"x\n"))


def test_case_85_sizes_that_lie_and_bombs_are_refused_within_limits(court: Court) -> None:
    tip = court.tips()["refs/heads/main"]
    command = (Command(ZERO, "1" * 40, REF),)
    for made in (
        pack(entry(BLOB, b"small", claimed=1 << 40)),  # a header that claims a terabyte
        pack(entry(BLOB, bytes(1 << 20), claimed=10)),
        pack(entry(BLOB, b"a"), count=5),
        pack(entry(BLOB, b"a"), entry(BLOB, b"b"), count=1),
        pack(entry(BLOB, b"a"))[:-1] + b"x",
        pack(entry(REF_DELTA, packs.delta(5, 1 << 40, packs.copied(0, 5)), base=tip)),
        pack(entry(REF_DELTA, packs.delta(1 << 40, 5, packs.copied(0, 5)), base="2" * 40)),
        pack(entry(5, b"x")), pack(entry(0, b"x")),
    ):  # fmt: skip
        refused(court, "", commands=command, pack=made)


def test_case_85_a_small_pack_that_unpacks_to_gigabytes_is_refused(court: Court) -> None:
    """Each delta copies the one before it many times over."""
    content = bytes(1 << 20)
    entries, base, size = [entry(BLOB, content)], packs.object_id(BLOB, content), 1 << 20
    for _ in range(2):
        copies = [packs.copied(0, min(size, 0xFFFFFF))] * 8
        made = packs.delta(size, 8 * min(size, 0xFFFFFF), *copies)
        entries.append(entry(REF_DELTA, made, base=base))
        content = content[: 0xFFFFFF] * 8
        base, size = packs.object_id(BLOB, content), len(content)
    tree = packs.tree(("100644", b"bomb", base))
    commit = packs.commit(packs.object_id(TREE, tree), court.tips()["refs/heads/main"])
    made = pack(*entries, entry(TREE, tree), entry(COMMIT, commit))
    small = GitGrant(GRANT.repositories, push=GRANT.push, max_pack=1 << 20)
    assert len(made) < 1 << 20
    command = Command(ZERO, packs.object_id(COMMIT, commit), REF)
    refused(court, "", commands=(command,), pack=made, grant=small)


def test_a_pack_larger_than_granted_is_refused(court: Court) -> None:
    court.commit("large", random.Random(1).randbytes(2 << 20))
    small = GitGrant(GRANT.repositories, push=GRANT.push, max_pack=1 << 20)
    refused(court, "larger than 1048576 bytes", grant=small)


def test_case_85_what_a_mutated_pack_becomes_is_nothing_that_git_refuses(court: Court) -> None:
    """Whatever is let through, `index-pack --strict` takes too."""
    court.commit("work", "work\n" * 50)
    whole, dice, let = court.pack("HEAD", "^HEAD~1"), random.Random(42), 0
    for _ in range(12):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(damaged))
            if dice.random() < 0.3:
                del damaged[at : at + dice.randint(1, 9)]
            else:
                damaged[at] ^= 1 << dice.randrange(8)
        verdict = court.judge(pack=bytes(damaged))
        argv = ["git", "-C", str(court.remote), "index-pack", "--stdin", "--fix-thin", "--strict"]
        taken = subprocess.run(argv, input=bytes(damaged), env=CLEAN, check=False, capture_output=True).returncode == 0
        assert taken or not verdict["allow"]
        let += verdict["allow"]
    assert let < 12
    assert court.faults == []


# Contents


@pytest.mark.parametrize(
    ("name", "target"),
    [(b"link", b"/etc/passwd"), (b"link", b"../outside"), (b"link", b"a/../../x"), (b"link", b".git/config"),
     (b"link", b"x/.GIT/hooks"), (b"link", b"a" * 5000)],
)  # fmt: skip
def test_a_link_that_leads_out_or_into_git_is_refused(court: Court, name: bytes, target: bytes) -> None:
    crafted(court, "symbolic link", (b"120000", name, target))


def test_a_link_within_the_repository_passes(court: Court) -> None:
    os.symlink("README", court.client / "link")
    (court.client / "deep" / "er").mkdir(parents=True)
    os.symlink("../../README", court.client / "deep" / "er" / "link")
    court.commit("work")
    assert court.judge()["allow"]


def test_a_link_and_a_directory_that_differ_in_case_alone_are_refused(court: Court) -> None:
    os.symlink("README", court.client / "A")
    court.commit("a/post-checkout")
    refused(court, "differ in nothing but upper and lower case")


def test_a_link_beside_what_was_there_before_is_refused_too(court: Court) -> None:
    court.commit("lib/file")
    git(court.client, "push", "--quiet", "origin", "HEAD:main")
    os.symlink("README", court.client / "LIB")
    court.commit("work")
    refused(court, "differ in nothing but upper and lower case")


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\rb", "a\x7f"])
def test_case_91_a_file_with_control_characters_in_its_name_is_refused(court: Court, name: str) -> None:
    court.commit(name)
    refused(court, "control characters")


@pytest.mark.parametrize(
    "module",
    [
        '[submodule "a"]\n\tpath = a\n\turl = ext::sh -c touch% /tmp/pwned\n',
        '[submodule "a"]\n\tpath = a\n\turl = file:///etc\n',
        '[submodule "a"]\n\tpath = a\n\turl = -u./payload\n', '[submodule "a"]\n\tpath = -a\n\turl = https://x.test/a\n',
        '[submodule "a"]\n\tpath = "a\r"\n\turl = https://x.test/a\n',
        '[submodule "a"]\n\tpath = a\n\turl = /home/operator\n',
        '[submodule "a"]\n\tpath = a\n\turl = https://x.test/a\n\tupdate = !touch /tmp/pwned\n',
        '[submodule "../../x"]\n\tpath = a\n\turl = https://x.test/a\n',
        '[submodule "a"]\n\tpath = a\n\turl = "https://x.test/a\\n"\n',
        '[submodule "a"]\n\tpath = ../a\n\turl = https://x.test/a\n', "[submodule\n",
    ],
)  # fmt: skip
def test_case_89_a_gitmodules_that_is_a_trap_is_refused_whatever_is_approved(court: Court, module: str) -> None:
    court.commit(".gitmodules", module)
    verdict = court.judge()
    assert not verdict["allow"]
    assert "approval" not in " ".join(verdict["why"]), verdict
    assert not Path("/tmp/pwned").exists()


def test_case_89_a_submodule_is_never_fetched_and_needs_an_approval(court: Court) -> None:
    court.commit(".gitmodules", '[submodule "a"]\n\tpath = a\n\turl = https://x.test/a\n')
    git(court.client, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},a")
    git(court.client, "commit", "--quiet", "-m", "a submodule")
    refused(court, "git: .gitmodules; submodule: a")
    assert len(court.fetched) == 1


def test_case_90_a_merge_that_changes_a_workflow_by_itself_counts(court: Court) -> None:
    court.commit(".github/workflows/ci.yml", "one\n")
    git(court.client, "push", "--quiet", "origin", "HEAD:main")
    git(court.client, "checkout", "--quiet", "-b", "side")
    court.commit("side")
    git(court.client, "checkout", "--quiet", "main")
    court.commit("main")
    git(court.client, "merge", "--quiet", "--no-commit", "--no-ff", "side")
    court.commit(".github/workflows/ci.yml", "evil\n", message="merge")
    refused(court, "ci: .github/workflows/ci.yml")


def test_case_90_taking_a_workflow_away_counts_as_changing_it(court: Court) -> None:
    court.commit(".github/workflows/ci.yml", "one\n")
    git(court.client, "push", "--quiet", "origin", "HEAD:main")
    git(court.client, "rm", "--quiet", ".github/workflows/ci.yml")
    git(court.client, "commit", "--quiet", "-m", "gone")
    refused(court, "ci: .github/workflows/ci.yml")


# Secrets


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", f"token = {TOKEN}\n".encode()), ("config", f"a = {TOKEN} # gitleaks:allow\n".encode()),
        ("go.sum", f"a = {TOKEN}\n".encode()), ("image.png", b"\x89PNG\r\n\x1a\n\0\0" + f"\n{TOKEN}\n".encode()),
        ("program", b"\x7fELF\x02\x01\x01\0\0\0" + f"\n{TOKEN}\n".encode()), ("node_modules/a", f"x={TOKEN}\n".encode()),
        ("encoded", b"data: " + base64.b64encode(f"token = {TOKEN} in here".encode()) + b"\n"),
        (".gitleaks.toml", f'[allowlist]\npaths = [".*"]\nregexes = [".*"]\n# {TOKEN}\n'.encode()),
        ("large", b"x\n" * 200_000 + TOKEN.encode() + b"\n"),
    ],
)  # fmt: skip
def test_a_secret_is_found_whatever_the_file_is_called_or_says(court: Court, name: str, content: bytes) -> None:
    court.commit(name, content)
    refused(court, f"it looks like secrets are in it: {name} line")


def test_a_secret_in_a_message_a_tag_or_a_name_is_found(court: Court) -> None:
    court.commit("work", message=f"use {TOKEN}")
    refused(court, "commit ")
    git(court.client, "reset", "--quiet", "--hard", "HEAD~1")
    git(court.client, "tag", "-a", "-m", f"use {TOKEN} now", "v9")
    refused(court, "it looks like secrets are in it: v9 line 6", "v9", "refs/tags/v9")
    court.commit(f"dir/{TOKEN}")
    refused(court, "it looks like secrets are in it: the name of a file")
    assert court.judge()["needs"] is None  # nothing names that finding alone, so nobody is asked to let it through


def test_the_secret_itself_is_told_to_nobody(court: Court) -> None:
    court.commit("config", f"token = {TOKEN}\n")
    assert TOKEN not in str(court.judge())


def test_the_rules_of_the_pusher_do_not_count(court: Court) -> None:
    court.commit(".gitleaks.toml", '[allowlist]\nregexes = [".*"]\n')
    court.commit(".gitleaksignore", "*\n")
    court.commit("config", f"token = {TOKEN}\n")
    refused(court, "it looks like secrets are in it: config line 1")
