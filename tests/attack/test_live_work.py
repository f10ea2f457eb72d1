"""Attack cases on a live directory (threats.md §2, 2, 5, 6): what would have git on the host run the agent's words later."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.attack.operators import Operator
from tests.attack.test_workspaces import ATTACK, GIT, content, working
from tests.waiting import eventually

__all__ = ["working"]

# Settings that name files of the tree, there or not; a repository whose place a file names; one without hooks.
NAMING = r"""set -e
rm -r deep/nested/.git/hooks .git/modules/sub/hooks
mkdir -p tools/hooks store; touch tools/hooks/pre-commit tools/clean.sh tools/more.config
git config filter.x.clean 'tools/clean.sh %f'
git config include.path ../tools/more.config
git config --add include.path ../later.config
git -C deep/nested config core.hooksPath ../../tools/hooks
git init -q --separate-git-dir store/apart apart
git init -q --bare store/bare
"""
NAMED = ["tools/hooks", "tools/clean.sh", "tools/more.config", "apart/.git", *(
    f"{place}/{name}" for place in ("store/apart", "store/bare") for name in ("config", "hooks"))]  # fmt: skip
HELD = [f"{place}/{name}" for place in (".git", "deep/nested/.git", ".git/modules/sub", "store/apart")
        for name in ("commondir", "config.worktree")]
HELD += ["deep/nested/.git/hooks", ".git/modules/sub/hooks", ".git/worktrees/linked/config.worktree", "later.config"]
PLANT = r"""
import os
evil = "[core]\n\tfsmonitor = touch PWNED; false\n\thooksPath = EVIL\n"
os.makedirs("EVIL", exist_ok=True)
for name in ("config", "post-commit", "pre-commit", "post-checkout"):
    with open("EVIL/" + name, "w") as file:
        file.write(evil if name == "config" else "#!/bin/sh\ntouch PWNED\n")
    os.chmod("EVIL/" + name, 0o755)
for path in HELD:
    for work in (lambda: os.remove(path), lambda: os.rmdir(path), lambda: os.rename(path, path + ".away"),
                 lambda: os.symlink(os.path.abspath("EVIL"), path), lambda: os.rename("EVIL/config", path),
                 lambda: open(path, "w").write(os.path.abspath("EVIL") if path.endswith("commondir") else evil),
                 lambda: open(path + "/post-commit", "w").write("touch PWNED")):
        try:
            work()
        except OSError:
            pass
"""


def shell(operator: Operator, script: str) -> subprocess.CompletedProcess[str]:
    done = operator.person.run(["sh", "-c", f"cd {operator.place}; {script}"])
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.threat(5, 6)
def test_case_5_6_git_on_the_host_runs_nothing_that_an_agent_left_in_a_live_repository(working: Operator) -> None:
    shell(working, NAMING)
    pwned = working.place / "PWNED"
    before = content(working.place, NAMED)
    with working.start("bind") as bottle:
        bottle.python(ATTACK.replace("PATHS", repr([*NAMED, *HELD])))
        bottle.python(PLANT.replace("HELD", repr(HELD)).replace("PWNED", str(pwned)) + "print(1)")
        inside = f"git worktree list; git status --short -uno; git -C deep/nested {GIT[4:]} commit --allow-empty -qm inside"
        done = bottle.exec("sh", "-ec", inside)
        assert done.returncode == 0, done.stderr
        assert content(working.place, NAMED) == before
        shell(working, "git status; git worktree list; git -C sub status; git -C apart status")
    assert content(working.place, NAMED) == before
    assert [path for path in HELD if os.path.lexists(working.place / path)] == []
    commit = f"{GIT[4:]} commit --allow-empty -qm host"
    for place in (".", "deep/nested", "apart", "sub", "linked"):
        shell(working, f"git -C {place} {commit}")
    assert not pwned.exists()


@pytest.mark.threat(5, 6)
def test_case_5_6_a_link_that_leads_to_settings_is_neither_replaced_nor_led_elsewhere(working: Operator) -> None:
    shell(working, """mkdir -p editor shared hooks; mv .vscode editor/vscode; ln -s editor inner; ln -s inner/vscode .vscode
                      rm -r .git/hooks; ln -s ../hooks .git/hooks; rm -r .claude; ln -s ../elsewhere .claude""")  # fmt: skip
    paths = [".vscode", "inner", "editor/vscode", "hooks", ".git/hooks", ".claude"]
    before = content(working.place, paths[2:])
    links = {path: os.readlink(working.place / path) for path in paths if os.path.islink(working.place / path)}
    if working.kind != "bubblewrap" and working.person.uid:
        refused = working.run("start", "bind", "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
        assert "is a link, which no engine can cover" in refused.stderr
        return
    with working.start("bind") as bottle:
        bottle.python(ATTACK.replace("PATHS", repr([*paths, ".vscode/tasks.json", ".git/hooks/post-commit"])))
    assert {path: os.readlink(working.place / path) for path in links} == links
    assert content(working.place, paths[2:]) == before


@pytest.mark.threat(5, 6)
def test_case_5_6_what_no_mount_can_prevent_is_told_while_it_runs_and_at_the_end(working: Operator) -> None:
    with working.start("bind") as bottle:
        made = "mkdir deep/dir; mv deep/dir deep/er/; git init -q deep/er/dir; git -C deep/er/dir config core.fsmonitor evil"
        settings = "mkdir -p pkg/.vscode; for one in pkg/.vscode/tasks.json CLAUDE.md work; do echo x > $one; done"
        assert bottle.exec("sh", "-ec", f"{made}; {settings}").returncode == 0

        def told() -> set[str]:
            events = [event for event in working.journal(bottle.identity) if event["kind"] == "live_triggers"]
            return {path for event in events for trigger in event["data"]["changed"].values() for path in trigger["paths"]}

        eventually(lambda: "deep/er/dir/.git/config (new)" in told())
        # The host's git writes its settings anew, and with that the old file's mount is gone.
        shell(working, "git config x.y z")
        eventually(lambda: ".git/config (changed)" in told())
        said = working.run("stop", bottle.identity).stderr
    lines = [line for line in said.splitlines() if "would run on this machine" in line]
    assert [line.split("(")[1].split(")")[0] for line in lines] == ["git", "agent settings", "editor"]
    assert ".git/config (changed)" in lines[0]
    assert "deep/er/dir/.git (new)" in lines[0]
    assert "CLAUDE.md (new)" in lines[1]
    assert "pkg/.vscode/tasks.json (new)" in lines[2]
