"""Attack cases on what the agent works on (threats.md §2, 2, 3, 5, 6, 10, 11), in every mode of a workspace."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest

from tests.attack.operators import CANARY, Operator

MODES = ("bind", "overlay", "clone", "copy")
GIT = "git -c user.name=a -c user.email=a@b.test -c protocol.file.allow=always"
# What tools of the host obey: (path, what it holds).
OBEYED = {
    ".vscode/tasks.json": "{}", ".claude/settings.json": "{}", ".mcp.json": "{}", ".envrc": "true\n",
    "deep/er/.cursor/rules": "x", "deep/.github/workflows/ci.yml": "on: push\n", "deep/.gitlab-ci.yml": "x: y\n",
}  # fmt: skip
MAKE = f"""set -e
for one in . deep/nested; do mkdir -p $one; git init -q $one; done
git init -q ../library; (cd ../library; echo x > code; git add .; {GIT} commit -qm x)
(cd deep/nested; echo n > n; git add .; {GIT} commit -qm nested)
{GIT} submodule --quiet add "$(cd ../library; pwd)" sub
echo file > file; git add file; {GIT} commit -qm first; git worktree add -q linked
rm -f .git/hooks/*; touch .git/hooks/post-checkout
"""
ATTACK = r"""
import json, os, shutil
obeyed = PATHS
def attempt(work):
    try:
        work()
    except OSError:
        pass
for path in obeyed:
    parts = path.split("/")
    attempt(lambda: open(path, "w").write("evil"))
    attempt(lambda: open(path, "a").write("evil"))
    attempt(lambda: os.chmod(path, 0o777))
    attempt(lambda: os.truncate(path, 0))
    attempt(lambda: os.unlink(path))
    attempt(lambda: (open("planted", "w").write("evil"), os.replace("planted", path)))
    attempt(lambda: os.link(path, "linked-to") or open("linked-to", "w").write("evil"))
    if os.path.isdir(path):
        attempt(lambda: open(path + "/post-checkout", "w").write("evil"))
        attempt(lambda: open(path + "/post-commit", "w").write("evil"))
    for depth in range(len(parts), 0, -1):
        above = "/".join(parts[:depth])
        # Out of the way, and another one in its place.
        attempt(lambda: os.rename(above, f"moved-{depth}"))
        attempt(lambda: shutil.rmtree(above))
        attempt(lambda: os.makedirs(os.path.dirname(path) or "."))
        attempt(lambda: open(path, "w").write("evil"))
        attempt(lambda: os.symlink("/tmp", above))
open("ordinary", "w").write("work")
print(json.dumps(sorted(os.listdir("."))))
"""


@pytest.fixture
def working(operator: Operator) -> Operator:
    """The same operator at another project: a repository with all that tools obey, an agent for each mode."""
    made = copy.copy(operator)
    made.place = operator.person.directory("project") / "shop"
    for words in (["mkdir", str(made.place)], ["sh", "-c", f"cd {made.place}; {MAKE}"]):
        done = made.person.run(words)
        assert done.returncode == 0, done.stderr
    for name, text in OBEYED.items():
        write = 'mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"'
        done = made.person.run(["sh", "-c", write, "-", str(made.place / name), text])
        assert done.returncode == 0, done.stderr
    made.write({
        "version": 1,
        "bottles": {mode: {"workspace": {"mode": mode}} for mode in MODES},
        "agents": {mode: {"bottle": mode, "harness": "shell"} for mode in MODES},
    })  # fmt: skip
    made.trust()
    return made


def obeyed(place: Path) -> list[str]:
    """Everything in a repository that tools of the host would obey, as the workspace has it."""
    found = [*OBEYED, "claude-bottle.json", "linked/.git", "sub/.git"]
    for repository in (".git", "deep/nested/.git", ".git/modules/sub"):
        found += [f"{repository}/{name}" for name in ("config", "hooks")]
    found += [f".git/worktrees/linked/{name}" for name in ("commondir", "gitdir")]
    assert [path for path in found if not os.path.lexists(place / path)] == []
    return found


def content(place: Path, paths: list[str]) -> dict[str, object]:
    held: dict[str, object] = {}
    for path in paths:
        there = place / path
        whole = sorted(there.rglob("*")) if there.is_dir() else [there]
        held[path] = [(str(one), one.lstat().st_mode, one.read_bytes() if one.is_file() else None) for one in whole]
    return held


@pytest.mark.threat(5, 6)
@pytest.mark.parametrize("mode", MODES)
def test_case_5_6_what_the_hosts_tools_obey_does_not_change_at_any_depth(working: Operator, mode: str) -> None:
    paths = obeyed(working.place)
    before = content(working.place, paths)
    with working.start(mode) as bottle:
        seen = bottle.python(ATTACK.replace("PATHS", repr(paths)))
        assert "ordinary" in seen
        assert content(working.place, paths) == before
    assert content(working.place, paths) == before
    assert (working.place / "ordinary").exists() == (mode == "bind")


@pytest.mark.threat(2)
@pytest.mark.parametrize("mode", MODES)
def test_case_2_settings_that_were_absent_at_the_start_are_made_in_private_storage(working: Operator, mode: str) -> None:
    names = [".claude/settings.json", ".vscode/tasks.json", ".cursor/rules", ".idea/x.xml", ".devcontainer/devcontainer.json",
             ".mcp.json", ".envrc", ".git/hooks/post-checkout"]  # fmt: skip
    remove = " ".join({name.split("/")[0] for name in names} - {".git"})
    assert working.person.run(["sh", "-ec", f"cd {working.place}; rm -r .git/hooks; rm -rf {remove}"]).returncode == 0
    before = sorted(os.listdir(working.place))
    with working.start(mode) as bottle:
        said = bottle.python(f"""
import json, os
for name in {names!r}:
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    open(name, "w").write("evil")
print(json.dumps([open(name).read() for name in {names!r}]))
""")
        assert said == ["evil"] * len(names)
        assert [name for name in names if (working.place / name).exists() and (working.place / name).read_text()] == []
    assert sorted(os.listdir(working.place)) == before
    assert not (working.place / ".git" / "hooks").exists()
    if mode == "bind":  # it is in no place of theirs, so it must not go with the bottle
        kept = working.listing()[bottle.identity]["preserved"]
        assert any(".claude, .cursor, .vscode" in why for why in kept), kept


@pytest.mark.threat(2)
def test_case_2_a_repository_made_in_a_live_directory_that_is_none_stays_in_private_storage(working: Operator) -> None:
    assert working.person.run(["rm", "-rf", str(working.place / ".git")]).returncode == 0
    with working.start("bind") as bottle:
        done = bottle.exec("sh", "-c", "git init -q && git config core.fsmonitor evil && git status --short | head -1")
        assert done.returncode == 0, done.stderr
        assert os.listdir(working.place / ".git") == []
    assert not (working.place / ".git").exists()


@pytest.mark.threat(2)
def test_case_2_the_end_of_one_bottle_takes_no_place_from_another_of_the_same_directory(working: Operator) -> None:
    assert working.person.run(["rm", "-r", str(working.place / ".claude"), str(working.place / ".mcp.json")]).returncode == 0
    with working.start("bind") as first, working.start("bind") as second:
        first.close()
        assert second.exec("sh", "-c", "echo evil > .claude/settings.json; echo evil > .mcp.json").returncode == 0
        assert list((working.place / ".claude").iterdir()) == []
        assert (working.place / ".mcp.json").read_text() == ""
    assert not (working.place / ".claude").exists()
    assert not (working.place / ".mcp.json").exists()


@pytest.mark.threat(2)
def test_case_2_what_the_operator_puts_there_meanwhile_is_theirs_and_stays(working: Operator) -> None:
    assert working.person.run(["rm", "-r", str(working.place / ".claude"), str(working.place / ".mcp.json")]).returncode == 0
    with working.start("bind"):
        for name in (".claude/mine", ".mcp.json"):
            assert working.person.run(["sh", "-c", f"echo mine > {working.place / name}"]).returncode == 0
    assert (working.place / ".claude" / "mine").read_text() == "mine\n"
    assert (working.place / ".mcp.json").read_text() == "mine\n"


@pytest.mark.threat(3)
@pytest.mark.parametrize("mode", ["overlay", "copy", "clone"])
def test_case_3_a_directory_that_became_a_link_leads_no_part_of_ours_outside(working: Operator, mode: str) -> None:
    outside = working.person.directory("outside")
    (outside / "inner").write_text(CANARY)
    os.chown(outside / "inner", working.person.uid, working.person.gid)
    with working.start(mode) as bottle:
        links = f"ln -s {outside} deep; ln -s {outside}/inner other; ln -s /etc/passwd file"
        bottle.exec("sh", "-c", f"rm -rf deep file; {links}")
    state = working.state(bottle.identity)
    assert working.listing()[bottle.identity]["status"] == "preserved"
    assert (outside / "inner").read_text() == CANARY
    assert [path for path in state.rglob("*") if not path.is_symlink() and path.is_file()
            and CANARY.encode() in path.read_bytes()] == []  # fmt: skip
    working.do("cleanup", bottle.identity, "--yes")
    assert (outside / "inner").read_text() == CANARY


@pytest.mark.threat(10, 11)
@pytest.mark.parametrize("mode", MODES)
def test_case_10_11_no_device_and_no_set_id_file_is_left_and_the_original_changes_in_a_bind_only(
    working: Operator, mode: str
) -> None:
    before = (working.place / "file").read_bytes()
    with working.start(mode) as bottle:
        found = bottle.python("""
import json, mmap, os, stat
def attempt(work):
    try:
        work()
        return "ok"
    except OSError as e:
        return "refused"
open("own", "w").write("x")
def mapped():
    fd = os.open("file", os.O_RDWR)
    mmap.mmap(fd, 4)[0:4] = b"evil"
print(json.dumps([attempt(work) for work in (
    lambda: os.chmod("own", 0o4755), lambda: os.chmod("own", 0o2755), lambda: os.mknod("dev", stat.S_IFCHR, os.makedev(1, 3)),
    mapped)] + [os.statvfs(".").f_flag & (os.ST_NODEV | os.ST_NOSUID)]))
""")
        assert found[:4] == ["refused", "refused", "refused", "ok"]
        # An engine's own binds and volumes are what they are there; what counts is that neither can be made.
        assert found[4] == os.ST_NODEV | os.ST_NOSUID or working.kind != "bubblewrap"
        assert ((working.place / "file").read_bytes() == before) == (mode != "bind")


def test_git_works_in_every_mode(working: Operator) -> None:
    for mode in MODES:
        with working.start(mode) as bottle:
            work = f"git add -A file; echo {mode} >> file; {GIT} commit -qam {mode}; git checkout -qb of-{mode}; git gc -q"
            done = bottle.exec("sh", "-ec", f"{work}; git log --format=%s -1; git status --short -uno; cat sub/code")
            assert (done.returncode, done.stdout) == (0, f"{mode}\nx\n"), (mode, done)


def test_a_keeper_that_dies_leaves_its_places_to_the_next_command(working: Operator) -> None:
    import signal

    from tests.attack.operators import titles
    from tests.waiting import ended

    assert working.person.run(["rm", "-r", str(working.place / ".claude")]).returncode == 0
    bottle = working.start("bind")
    assert (working.place / ".claude").is_dir()
    keepers = [pid for pid, title in titles(bottle.identity) if "keeper" in title]
    assert len(keepers) == 1
    os.kill(keepers[0], signal.SIGKILL)
    assert ended(keepers[0])
    working.do("cleanup", bottle.identity, "--yes")
    assert not (working.place / ".claude").exists()

