"""A git clone as a workspace: whole, and made without running or following anything of the repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.backend import clone
from claude_bottle.errors import BottleError, Refused

CANARY = "canary-b81e"
ENV = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.test", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.test",
}  # fmt: skip


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=place, env=ENV, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    for name in ("a", "d/b", "gone", "run", ".gitignore"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("ignored\n" if name == ".gitignore" else f"content of {name}\n")
    (place / "run").chmod(0o755)
    (place / "link").symlink_to("/etc/passwd")
    git(place, "add", ".")
    git(place, "commit", "-qm", "first")
    git(place, "tag", "-a", "v1", "-m", "one")
    git(place, "branch", "other")
    return place


@pytest.fixture
def target(tmp_path: Path) -> Path:
    place = tmp_path / "target"
    place.mkdir(mode=0o700)
    return place


def into(source: Path, target: Path, *include: str) -> str:
    return clone.into(source, target, "bottle/a-123456", include)


def names(place: Path) -> list[str]:
    found = [str(path.relative_to(place)) for path in place.rglob("*") if ".git" not in path.relative_to(place).parts]
    return sorted(found)


def test_a_clone_has_the_history_and_stands_on_a_branch_of_the_bottle(source: Path, target: Path) -> None:
    commit = into(source, target)
    assert commit == git(source, "rev-parse", "HEAD").strip()
    assert git(target, "symbolic-ref", "HEAD").strip() == "refs/heads/bottle/a-123456"
    assert git(target, "status", "--porcelain") == ""
    git(target, "fsck", "--strict")
    assert git(target, "branch", "--list", "--format=%(refname)").split() == [
        "refs/heads/bottle/a-123456", "refs/heads/main", "refs/heads/other"]  # fmt: skip
    assert git(target, "describe").strip() == "v1"
    assert (target / "run").stat().st_mode & 0o111
    assert os.readlink(target / "link") == "/etc/passwd"
    (target / "a").write_text("more\n")
    git(target, "commit", "-qam", "second")
    git(target, "gc", "-q")
    assert git(target, "log", "--format=%s").split() == ["second", "first"]


@pytest.mark.parametrize("packed", [True, False])
def test_the_original_is_only_read_and_shares_no_file_with_the_clone(source: Path, target: Path, packed: bool) -> None:
    if packed:
        git(source, "gc", "-q")
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in source.rglob("*")}
    into(source, target, clone.UNCOMMITTED, clone.UNTRACKED)
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in source.rglob("*")} == before
    assert {path.stat().st_nlink for path in target.rglob("*") if path.is_file() and not path.is_symlink()} == {1}


def change(source: Path) -> None:
    (source / "a").write_text("changed\n")
    (source / "gone").unlink()
    (source / "staged").write_text("staged\n")
    git(source, "add", "staged")
    (source / "new" / "deep").mkdir(parents=True)
    (source / "new" / "deep" / "file").write_text("new\n")
    (source / "ignored").write_text("ignored\n")


@pytest.mark.parametrize(
    ("include", "status"),
    [
        ((), ""),
        ((clone.UNCOMMITTED,), " M a\n D gone\n?? staged\n"),
        ((clone.UNTRACKED,), "?? new/deep/file\n"),
        ((clone.UNCOMMITTED, clone.UNTRACKED), " M a\n D gone\n?? new/deep/file\n?? staged\n"),
    ],
)
def test_what_is_not_committed_comes_along_when_asked_for(
    source: Path, target: Path, include: tuple[str, ...], status: str
) -> None:
    change(source)
    into(source, target, *include)
    assert git(target, "status", "--porcelain", "--untracked-files=all") == status
    assert not (target / "ignored").exists()


def test_a_change_within_the_second_of_the_commit_that_keeps_the_size_comes_along(source: Path, target: Path) -> None:
    """Git keeps whole seconds of a file's time, and tells such a change by the time of its index."""
    changed = (source / ".git" / "index").stat().st_mtime_ns
    (source / "a").write_text((source / "a").read_text().upper())
    os.utime(source / "a", ns=(changed, changed))
    into(source, target, clone.UNCOMMITTED)
    assert (target / "a").read_text() == "CONTENT OF A\n"


def test_a_file_that_became_a_directory_and_a_directory_that_became_a_link_come_along_too(source: Path, target: Path) -> None:
    (source / "a").unlink()
    (source / "a").mkdir()
    (source / "a" / "inner").write_text("x")
    (source / "d" / "b").unlink()
    (source / "d").rmdir()
    (source / "d").symlink_to("/etc")
    into(source, target, clone.UNCOMMITTED, clone.UNTRACKED)
    assert (target / "a" / "inner").read_text() == "x"
    assert os.readlink(target / "d") == "/etc"


def test_what_dockerignore_leaves_out_is_not_brought_with_the_untracked(source: Path, target: Path) -> None:
    (source / ".dockerignore").write_text("*.env\n")
    (source / "secret.env").write_text(CANARY)
    into(source, target, clone.UNTRACKED)
    assert not (target / "secret.env").exists()
    assert (target / ".dockerignore").exists()


def test_a_repository_without_a_commit_is_cloned(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "empty"
    source.mkdir()
    git(source, "init", "-q")
    (source / "file").write_text("x")
    assert into(source, target, clone.UNTRACKED) == ""
    assert git(target, "symbolic-ref", "HEAD").strip() == "refs/heads/bottle/a-123456"
    assert names(target) == ["file"]


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_shallow_and_detached_repositories_and_those_of_other_ids_are_cloned(tmp_path: Path, target: Path, form: str) -> None:
    full, source = tmp_path / "full", tmp_path / "shallow"
    full.mkdir()
    git(full, "init", "-q", f"--object-format={form}")
    for number in range(3):
        (full / "a").write_text(str(number))
        git(full, "add", ".")
        git(full, "commit", "-qm", str(number))
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{full}", str(source))
    git(source, "checkout", "-q", "--detach")
    into(source, target)
    assert git(target, "log", "--format=%s").split() == ["2", "1"]
    git(target, "fsck")


def test_a_linked_worktree_is_cloned_with_its_own_head_and_changes(source: Path, tmp_path: Path, target: Path) -> None:
    linked = tmp_path / "linked"
    git(source, "worktree", "add", "-q", str(linked), "other")
    (linked / "a").write_text("of the worktree\n")
    into(linked, target, clone.UNCOMMITTED)
    assert (target / "a").read_text() == "of the worktree\n"
    assert (target / ".git").is_dir()
    assert git(target, "status", "--porcelain") == " M a\n"


def test_submodules_that_are_checked_out_come_along_at_their_commits(source: Path, tmp_path: Path, target: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "code").write_text("v1")
    git(library, "add", ".")
    git(library, "commit", "-qm", "v1")
    git(source, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor/lib")
    git(source, "commit", "-qm", "with a library")
    (source / "vendor/lib/code").write_text("dirty")
    into(source, target, clone.UNCOMMITTED)
    assert (target / "vendor/lib/code").read_text() == "dirty"
    assert git(target / "vendor/lib", "log", "--format=%s").strip() == "v1"
    assert git(target, "status", "--porcelain", "--ignore-submodules=dirty") == ""
    assert str(tmp_path) not in (target / ".git" / "config").read_text()


def test_remotes_come_along_without_credentials_and_without_paths_of_this_host(source: Path, target: Path) -> None:
    for name, url in (
        ("origin", "https://me:hunter2@git.example.com/x.git"), ("ssh", "ssh://git:pw@git.example.com:22/x.git"),
        ("scp", "git@git.example.com:x.git"), ("local", "/home/me/x.git"), ("file", "file:///home/me/x.git"),
        ("ext", "ext::sh -c touch% /tmp/x"), ("dash", "--upload-pack=x"),
    ):  # fmt: skip
        git(source, "config", f"remote.{name}.url", url)
    git(source, "config", "branch.main.remote", "origin")
    into(source, target)
    assert git(target, "config", "--get-regexp", r"remote\..*\.url").split() == [
        "remote.origin.url", "https://git.example.com/x.git", "remote.ssh.url", "ssh://git@git.example.com:22/x.git",
        "remote.scp.url", "git@git.example.com:x.git"]  # fmt: skip
    assert git(target, "config", "branch.main.remote").strip() == "origin"


TRAPS: dict[str, Callable[[Path, str], object]] = {
    "fsmonitor": lambda place, run: git(place, "config", "core.fsmonitor", run),
    "hooksPath": lambda place, run: (place / "hooks").mkdir()
    or ([(place / "hooks" / name).write_text(f"#!/bin/sh\n{run}\n") and (place / "hooks" / name).chmod(0o755)
        for name in ("post-checkout", "post-index-change", "reference-transaction")]
    and git(place, "config", "core.hooksPath", "hooks")),
    "hooks": lambda place, run: [(place / ".git/hooks" / name).write_text(f"#!/bin/sh\n{run}\n")
        and (place / ".git/hooks" / name).chmod(0o755)
        for name in ("post-checkout", "post-index-change", "reference-transaction")],
    "filter": lambda place, run: (place / ".gitattributes").write_text("* filter=x diff=x\n")
    and [git(place, "config", f"filter.x.{kind}", run) for kind in ("clean", "smudge", "process")]
    and git(place, "config", "diff.x.command", run) + git(place, "config", "diff.x.textconv", run),
    "external diff": lambda place, run: git(place, "config", "diff.external", run),
    "ssh": lambda place, run: git(place, "config", "core.sshCommand", run)
    + git(place, "config", "remote.origin.url", "ssh://a.test/x"),
    "pager and editor": lambda place, run: git(place, "config", "core.pager", run) + git(place, "config", "core.editor", run),
    "credential helper": lambda place, run: git(place, "config", "credential.helper", f"!{run}"),
    "upload pack": lambda place, run: git(place, "config", "uploadpack.packObjectsHook", run),
    "alias": lambda place, run: [git(place, "config", f"alias.{name}", f"!{run}") for name in ("checkout", "ls-files")],
    "include": lambda place, run: (place / "more").write_text(f'[core]\n\tfsmonitor = "{run}"\n')
    and git(place, "config", "include.path", str(place / "more")),
}  # fmt: skip


@pytest.mark.threat(86)
@pytest.mark.parametrize("trap", TRAPS)
def test_case_86_nothing_that_a_repository_would_have_git_run_is_run(
    source: Path, target: Path, tmp_path: Path, trap: str
) -> None:
    ran = tmp_path / "ran"
    TRAPS[trap](source, f"touch {ran}")
    ran.unlink(missing_ok=True)
    (source / "a").write_text("changed\n")
    into(source, target, clone.UNCOMMITTED, clone.UNTRACKED)
    assert not ran.exists()
    assert (target / "a").read_text() == "changed\n"
    kept = (target / ".git" / "config").read_text()
    assert str(ran) not in kept
    assert not (target / ".git" / "hooks").exists()


@pytest.mark.threat(86)
def test_case_86_the_repository_of_a_submodule_runs_nothing_either(source: Path, target: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("nested", "sub"):
        (source / name).mkdir()
        git(source / name, "init", "-q")
        (source / name / "file").write_text("x")
        git(source / name, "add", ".")
        git(source / name, "commit", "-qm", "x")
    git(source, "-c", "advice.addEmbeddedRepo=false", "add", "sub")
    git(source, "commit", "-qm", "a repository within")
    for name in ("nested", "sub"):
        git(source / name, "config", "core.fsmonitor", f"touch {ran}")
        (source / name / "file").write_text("changed")
    into(source, target, clone.UNCOMMITTED, clone.UNTRACKED)
    assert not ran.exists()
    assert "nested/file" not in names(target)


@pytest.mark.threat(87)
def test_case_87_another_repository_is_neither_reached_by_a_git_file_nor_by_alternates(
    source: Path, target: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    git(private, "init", "-q")
    (private / "secret").write_text(CANARY)
    git(private, "add", ".")
    git(private, "commit", "-qm", "private")
    git(private, "worktree", "add", "-q", str(tmp_path / "real"))
    thief = tmp_path / "thief"
    thief.mkdir()
    for points_to in (private / ".git", private / ".git" / "worktrees" / "real", tmp_path / "nowhere"):
        (thief / ".git").write_text(f"gitdir: {points_to}\n")
        with pytest.raises(Refused, match="lies elsewhere"):
            into(thief, target)
    (thief / ".git").unlink()
    (thief / ".git").symlink_to(private / ".git")
    with pytest.raises(Refused, match="lies elsewhere"):
        into(thief, target)
    (thief / ".git").unlink()
    # Repositories that say they are this directory's, and take their objects from the other one.
    for inside in (thief / ".git", thief / "own"):
        git(tmp_path, "init", "-q", str(inside.parent))
        if inside != thief / ".git":
            (thief / ".git").rename(inside)
            (thief / ".git").write_text("gitdir: own\n")
            (inside / "gitdir").write_text("../.git\n")
        (inside / "commondir").write_text(f"{private}/.git\n")
        with pytest.raises(Refused, match="lies elsewhere"):
            into(thief, target)
    assert names(target) == []
    (source / ".git/objects/info").mkdir(exist_ok=True)
    (source / ".git/objects/info/alternates").write_text(f"{private}/.git/objects\n")
    with pytest.raises(Refused, match="takes objects from another"):
        into(source, target)


@pytest.mark.threat(88)
@pytest.mark.parametrize("what", ["object", "fan", "pack", "objects", "refs", "packed-refs", "HEAD"])
def test_case_88_a_link_in_a_repository_is_not_followed(source: Path, target: Path, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    dot = source / ".git"
    if what == "pack":
        git(source, "gc", "-q")
        place = next((dot / "objects/pack").glob("*.pack"))
    elif what == "object":
        place = next(path for path in (dot / "objects").glob("??/*"))
    elif what == "fan":
        place = next(path for path in (dot / "objects").glob("??"))
    else:
        place = dot / what
        if what == "packed-refs":
            git(source, "pack-refs", "--all")
    place.rename(outside / place.name)
    place.symlink_to(outside / place.name)
    try:
        into(source, target)
    except BottleError:
        pass  # without it the repository is not whole
    assert not [path for path in (target / ".git").rglob("*") if path.is_symlink()]
    if what in ("pack", "objects", "HEAD"):
        assert not (target / "a").exists()


def test_an_index_that_names_gits_own_files_is_refused(source: Path, target: Path) -> None:
    data = (source / ".git/index").read_bytes()
    assert data.count(b"gone") == 1
    (source / ".git/index").write_bytes(data.replace(b"gone", b".git"))
    (source / "gone").unlink()
    with pytest.raises(BottleError):
        into(source, target, clone.UNCOMMITTED)
    assert (target / ".git").is_dir()


@pytest.mark.parametrize("what", ["no repository", "a directory within one", "a partial clone"])
def test_what_cannot_be_cloned_is_said_with_a_way_out(source: Path, target: Path, tmp_path: Path, what: str) -> None:
    place = tmp_path
    if what == "a directory within one":
        place = source / "d"
    elif what == "a partial clone":
        git(source, "gc", "-q")
        pack = next((source / ".git/objects/pack").glob("*.pack"))
        pack.with_suffix(".promisor").touch()
        place = source
    with pytest.raises(BottleError) as refused:
        into(place, target)
    assert '"mode": "copy"' in refused.value.do
