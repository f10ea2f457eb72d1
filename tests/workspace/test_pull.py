"""Pulling commits with a real git on both sides: what comes is whole and judged, and nothing of the bottle's is obeyed."""

from __future__ import annotations

import os
import zlib
from hashlib import sha1
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError, Refused
from claude_bottle.workspace.host_repository import HostRepository
from claude_bottle.workspace.pull import Pulled, pull
from claude_bottle.workspace.quarantine import quarantine
from tests.workspace.conftest import Yard, git, plant, repository

ID = "claude-k3x9qa"
BRANCH = f"bottle/{ID}"


@pytest.fixture
def handed(yard: Yard) -> Yard:
    repository(yard.host, {"a": "a\n", "sub/b": "b\n"})
    yard.hand_in()
    return yard


def commit(place: Path, name: str = "a", text: str = "changed\n", *words: str) -> str:
    plant(place, {name: text})
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=work", *words)
    return git(place, "rev-parse", "HEAD")


def bring(yard: Yard, *, force: bool = False) -> Pulled:
    with yard.work() as work, quarantine() as place:
        return pull(place, work.whole, work.refs, HostRepository(yard.host), ID, force=force)


def state(place: Path) -> tuple[str, str, str, bytes]:
    """What must not change in the operator's repository."""
    return git(place, "rev-parse", "HEAD"), git(place, "symbolic-ref", "HEAD"), git(place, "status", "--porcelain"), (
        place / ".git/config"
    ).read_bytes()


def test_the_commits_come_as_a_branch_and_all_else_stays_as_it_is(handed: Yard) -> None:
    before = state(handed.host)
    tips = [commit(handed.bottle, "a", "one\n"), commit(handed.bottle, "new/c", "two\n")]
    pulled = bring(handed)
    assert (pulled.branches, pulled.commits) == ({"refs/heads/main": BRANCH}, 2)
    assert git(handed.host, "rev-parse", BRANCH, f"{BRANCH}~1").split() == tips[::-1]
    assert git(handed.host, "show", f"{BRANCH}:new/c") == "two"
    assert git(handed.host, "fsck", "--full", "--strict") == ""
    assert state(handed.host) == before
    assert sorted(pulled.files) == ["a", "new/c", "sub/b"]


def test_twice_is_once_and_more_moves_the_branch_on(handed: Yard) -> None:
    commit(handed.bottle, "a", "one\n")
    bring(handed)
    packs = sorted(os.listdir(handed.host / ".git/objects/pack"))
    bring(handed)
    assert sorted(os.listdir(handed.host / ".git/objects/pack")) == packs
    tip = commit(handed.bottle, "a", "two\n")
    bring(handed)
    assert git(handed.host, "rev-parse", BRANCH) == tip


def test_nothing_new_is_said(handed: Yard) -> None:
    with pytest.raises(BottleError, match="nothing to pull"):
        bring(handed)


def test_a_branch_that_holds_something_else_is_moved_only_by_force_and_never_while_checked_out(handed: Yard) -> None:
    commit(handed.bottle, "a", "one\n")
    bring(handed)
    tip = commit(handed.bottle, "a", "other\n", "--amend")
    with pytest.raises(Refused, match="something else"):
        bring(handed)
    bring(handed, force=True)
    assert git(handed.host, "rev-parse", BRANCH) == tip
    git(handed.host, "pack-refs", "--all")
    commit(handed.bottle, "a", "again\n", "--amend")
    with pytest.raises(Refused, match="something else"):
        bring(handed)
    git(handed.host, "checkout", "--quiet", BRANCH)
    with pytest.raises(Refused, match="checked out"):
        bring(handed, force=True)
    assert git(handed.host, "rev-parse", BRANCH) == tip


def test_other_branches_detached_heads_and_packed_objects_come_too(handed: Yard) -> None:
    git(handed.bottle, "checkout", "--quiet", "-b", "feature/x")
    one = commit(handed.bottle, "x", "x\n")
    git(handed.bottle, "checkout", "--quiet", "--detach", "main")
    two = commit(handed.bottle, "y", "y\n")
    git(handed.bottle, "gc", "--quiet")
    assert bring(handed).branches == {"refs/heads/feature/x": f"{BRANCH}--feature/x", "HEAD": BRANCH}
    assert git(handed.host, "rev-parse", BRANCH, f"{BRANCH}--feature/x").split() == [two, one]


def test_a_linked_worktree_of_the_operators_gets_the_branch_in_its_repository(yard: Yard) -> None:
    main = yard.place / "main"
    main.mkdir()
    repository(main, {"a": "a\n"})
    yard.host.rmdir()
    git(main, "worktree", "add", "--quiet", str(yard.host), "-b", "side")
    yard.hand_in()
    # The agent's own repository: what a worktree's `.git` names does not exist in a bottle.
    (yard.bottle / ".git").unlink()
    git(yard.place, "clone", "--quiet", str(main), "clone")
    os.rename(yard.place / "clone/.git", yard.bottle / ".git")
    tip = commit(yard.bottle)
    bring(yard)
    assert git(main, "rev-parse", BRANCH) == tip


SETTINGS = ("core.fsmonitor", "core.sshCommand", "core.editor", "core.pager", "core.alternateRefsCommand", "diff.external",
            "credential.helper", "uploadpack.packObjectsHook", "filter.x.smudge", "filter.x.clean", "gpg.program",
            "alias.fetch", "core.askPass")  # fmt: skip


@pytest.mark.parametrize("where", ["bottle", "host"])
def test_no_hook_setting_filter_or_attribute_is_ever_obeyed(handed: Yard, where: str) -> None:
    """Case 86, and the same for what the operator's own repository would run."""
    place = handed.bottle if where == "bottle" else handed.host
    commit(handed.bottle, "a", "one\n")
    canary = handed.place / "ran"
    script = handed.place / "script"
    script.write_text(f"#!/bin/sh\necho \"$0\" >> {canary}\n")
    script.chmod(0o755)
    for setting in SETTINGS:
        git(place, "config", setting, str(script))
    git(place, "config", "core.hooksPath", str(handed.place / "hooks"))
    git(place, "config", "include.path", "/etc/hostname")
    for directory in (handed.place / "hooks", place / ".git/hooks"):
        directory.mkdir(exist_ok=True)
        for name in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-update", "update", "fsmonitor-watchman"):
            (directory / name).write_text(script.read_text())
            (directory / name).chmod(0o755)
    plant(place, {".git/info/attributes": "* filter=x diff=x merge=x\n", ".gitattributes": "* filter=x\n"})
    bring(handed)
    assert not canary.exists()


def test_links_and_alternates_to_other_repositories_bring_nothing(handed: Yard) -> None:
    """Cases 87 and 88: the commit needs an object that only a foreign repository has."""
    foreign = handed.place / "foreign"
    foreign.mkdir()
    repository(foreign, {"secret": "canary of another repository\n"})
    blob = git(foreign, "rev-parse", "HEAD:secret")
    tree = git(handed.bottle, "mktree", "--missing", input=f"100644 blob {blob}\tsecret\n".encode())
    tip = git(handed.bottle, "commit-tree", "-m", "steal", "-p", "HEAD", tree)
    git(handed.bottle, "update-ref", "refs/heads/main", tip)
    objects = handed.bottle / ".git/objects"
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info/alternates").write_text(f"{foreign}/.git/objects\n")
    (objects / blob[:2]).mkdir(exist_ok=True)
    (objects / blob[:2] / blob[2:]).symlink_to(foreign / ".git/objects" / blob[:2] / blob[2:])
    with pytest.raises(BottleError, match="refused"):
        bring(handed)
    assert BRANCH not in git(handed.host, "branch", "--list", "--all")
    assert not (handed.host / ".git/objects" / blob[:2] / blob[2:]).exists()


def test_a_git_file_in_the_place_of_the_repository_leads_nowhere(handed: Yard) -> None:
    """Case 87."""
    foreign = handed.place / "foreign"
    foreign.mkdir()
    repository(foreign, {"secret": "s"})
    git(handed.place, "-c", "protocol.file.allow=always", "clone", "--quiet", "host", "other")
    os.rename(handed.bottle / ".git", handed.place / "away")
    for make in (lambda: (handed.bottle / ".git").write_text(f"gitdir: {foreign}/.git\n"),
                 lambda: (handed.bottle / ".git").symlink_to(foreign / ".git")):  # fmt: skip
        make()
        with pytest.raises(BottleError, match="nothing to pull"):
            bring(handed)
        (handed.bottle / ".git").unlink()


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/x", "file:///etc", "-u./payload", "../up\r"])
def test_modules_with_dangerous_addresses_are_never_recursed_into(handed: Yard, url: str) -> None:
    """Case 89: git's own check refuses some, the rest is data in a branch and a trigger in `diff`."""
    plant(handed.bottle, {".gitmodules": f'[submodule "m"]\n\tpath = m\n\turl = {url}\n'})
    git(handed.bottle, "add", ".gitmodules")
    tip = git(handed.host, "rev-parse", "HEAD")
    git(handed.bottle, "update-index", "--add", "--cacheinfo", f"160000,{tip},m")
    git(handed.bottle, "commit", "--quiet", "--message=module")
    try:
        bring(handed)
    except BottleError as problem:
        assert "refused" in problem.what
    assert not (handed.host / "m").exists() and not (handed.host / ".git/modules").exists()


def raw_object(place: Path, kind: bytes, data: bytes, name: str = "") -> str:
    """Write an object as an agent could, whatever git thinks of it."""
    whole = kind + b" %d\0" % len(data) + data
    name = name or sha1(whole).hexdigest()
    path = place / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole))
    return name


@pytest.mark.parametrize("entry", [b".git", b"..", b".GIT", b"a/b"])
def test_trees_that_would_write_into_git_or_out_of_the_tree_are_refused(handed: Yard, entry: bytes) -> None:
    blob = raw_object(handed.bottle, b"blob", b"evil")
    tree = raw_object(handed.bottle, b"tree", b"100644 " + entry + b"\0" + bytes.fromhex(blob))
    parent = git(handed.bottle, "rev-parse", "HEAD")
    head = f"tree {tree}\nparent {parent}\nauthor n <n@x> 0 +0000\ncommitter n <n@x> 0 +0000\n\nx\n"
    tip = raw_object(handed.bottle, b"commit", head.encode())
    plant(handed.bottle, {".git/refs/heads/main": f"{tip}\n"})
    with pytest.raises(BottleError, match="refused"):
        bring(handed)
    assert BRANCH not in git(handed.host, "branch", "--list")


def test_objects_that_are_not_what_they_are_called_are_refused(handed: Yard) -> None:
    tip = commit(handed.bottle, "a", "good\n")
    blob = git(handed.bottle, "rev-parse", "HEAD:a")
    (handed.bottle / ".git/objects" / blob[:2] / blob[2:]).chmod(0o644)
    raw_object(handed.bottle, b"blob", b"another content", blob)
    with pytest.raises(BottleError, match="refused"):
        bring(handed)
    assert tip not in git(handed.host, "rev-list", "--all")


def test_a_pack_that_is_damaged_or_has_a_lying_index_is_refused_or_read_anew(handed: Yard) -> None:
    tip = commit(handed.bottle, "a", "one\n")
    git(handed.bottle, "repack", "-a", "-d", "-q")
    (index,) = (handed.bottle / ".git/objects/pack").glob("*.idx")
    index.chmod(0o644)
    index.write_bytes(b"\xfftOc" + b"\xff" * 2000)
    bring(handed)
    assert git(handed.host, "rev-parse", BRANCH) == tip
    commit(handed.host, "z", "z\n")
    (pack,) = (handed.bottle / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.write_bytes(data)
    git(handed.host, "branch", "-D", BRANCH)
    for pack in (handed.host / ".git/objects/pack").iterdir():
        pack.unlink()
    with pytest.raises(BottleError, match="refused"):
        bring(handed)


def test_branch_names_of_escapes_and_options_become_plain_ones(handed: Yard) -> None:
    """Case 91."""
    tips = {}
    for name in ("\u202eevil", "-x", "a;b", "ü/é"):
        tips[name] = git(handed.bottle, "commit-tree", "-p", "HEAD", "-m", name, "HEAD^{tree}")
    tips["same"] = tips["-x"]
    plant(handed.bottle, {".git/packed-refs": "".join(f"{tip} refs/heads/{name}\n" for name, tip in tips.items())})
    plain = {"\u202eevil": "-evil", "-x": "-x", "a;b": "a-b", "ü/é": "-/-"}
    assert bring(handed).branches == {f"refs/heads/{name}": f"{BRANCH}--{short}" for name, short in plain.items()}
    for name, short in plain.items():
        assert git(handed.host, "rev-parse", f"refs/heads/{BRANCH}--{short}") == tips[name]


def test_no_repository_on_the_host_is_said(yard: Yard) -> None:
    yard.hand_in()
    with pytest.raises(BottleError, match="no git repository"):
        HostRepository(yard.host)
