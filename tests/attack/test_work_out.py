"""Attack cases on the work's way out (threats.md §2, 86 to 89, 92, 95, 97, 98, 100): an agent leaves in its workspace
whatever could act on the operator who looks at it, applies it, pulls it or exports it."""

from __future__ import annotations

import copy
import json
import os
import stat

import pytest

from tests.attack.operators import Operator

MODES = ("copy", "overlay", "clone")
GIT = "git -c user.name=a -c user.email=a@b.test"
MAKE = f"""set -e
git init -q --initial-branch=main .; mkdir src; echo one > src/a; echo all: > Makefile; git add .; {GIT} commit -qm first
git init -q ../other; (cd ../other; echo SECRET-of-another > secret; git add .; {GIT} commit -qm x)
"""
# Run inside, with what to run on the host (`touch` of a file there) and where another repository of the operator's is.
ATTACK = r"""
import os, subprocess, stat
run, other, blob = RUN, OTHER, BLOB
def git(*words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@x", *words], check=True, stdout=subprocess.DEVNULL)
def attempt(work):
    try:
        work()
    except OSError:
        pass
def write(path, text, mode=0o755):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
write("src/a", "two\n", 0o644)
git("commit", "-qam", "work")
for name in (b"-rf", b"new\nline", b"\x1b]0;title\x07", b"\xff\xfe", b"CASE", b"case", "\u202egnp".encode()):
    with open(name, "wb") as file:
        file.write(name)
for name in (".envrc", ".vscode/tasks.json", ".devcontainer/devcontainer.json", ".claude/settings.json", ".mcp.json",
             "conftest.py", "evil.pth", "sitecustomize.py", ".github/workflows/ci.yml", "Makefile", "package.json",
             ".husky/pre-commit"):
    write(name, run + "\n")
write(".gitattributes", "* filter=evil diff=evil merge=evil\n")
write(".gitmodules", '[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "' + run + '"\n')
write("nested/.git/config", "[core]\n\tfsmonitor = " + run + "\n")
write("nested/file", "f\n")
for name, to in (("link", "/etc/passwd"), ("up", "../../other/secret"), ("dir", "/etc"), ("hooks", ".git/hooks")):
    attempt(lambda: os.symlink(to, name))
os.mkfifo("pipe")
with open("endless", "w") as file:
    attempt(lambda: file.truncate(1 << 42))
write("tool", "#!/bin/sh\n")
attempt(lambda: os.chmod("tool", 0o6777))
attempt(lambda: os.mknod("device", 0o600 | stat.S_IFBLK, os.makedev(8, 0)))
os.utime("tool", (1 << 33, 1 << 33))
keys = ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "diff.external",
        "diff.evil.textconv", "diff.evil.command",
        "filter.evil.clean", "filter.evil.smudge", "merge.evil.driver", "credential.helper", "uploadpack.packObjectsHook",
        "core.alternateRefsCommand", "gpg.program", "core.hooksPath")
with open(".git/config", "a") as config:
    for key in keys:
        section, _, name = key.rpartition(".")
        first, _, sub = section.partition(".")
        config.write('[%s%s]\n\t%s = "%s"\n' % (first, ' "%s"' % sub if sub else "", name, run))
    config.write("[include]\n\tpath = /etc/passwd\n[alias]\n\tfetch = !" + run + "\n")
for name in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-merge", "update", "post-update", "pre-push"):
    write(".git/hooks/" + name, "#!/bin/sh\n" + run + "\n")
write(".git/objects/info/alternates", other + "/.git/objects\n")
os.makedirs(".git/objects/" + blob[:2], exist_ok=True)
name = "/.git/objects/" + blob[:2] + "/" + blob[2:]
attempt(lambda: os.symlink(other + name, "." + name))
"""


class Shop:
    """The operator's project, one mode, and the bottle's identity once it has attacked."""

    def __init__(self, operator: Operator, mode: str) -> None:
        self.operator = copy.copy(operator)
        self.above = operator.person.directory("work")
        self.place = self.operator.place = self.above / "shop"
        self.ran = self.above / "ran"
        self.shell(f"mkdir {self.place}; cd {self.place}; {MAKE}")
        agents = {"agent": {"bottle": "private", "harness": "shell"}}
        self.operator.write({"version": 1, "bottles": {"private": {"workspace": {"mode": mode}}}, "agents": agents})
        self.operator.trust()

    def shell(self, script: str) -> str:
        done = self.operator.person.run(["sh", "-c", script])
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    def attack(self) -> str:
        blob = self.shell(f"git -C {self.above}/other rev-parse HEAD:secret")
        values = {"RUN": f"touch {self.ran}", "OTHER": str(self.above / "other"), "BLOB": blob}
        source = ATTACK
        for name, value in values.items():
            source = source.replace(f" {name}", f" {value!r}", 1)
        done = self.operator.run("run", "agent", "--", "/usr/bin/python3", "-I", "-c", source)
        assert done.returncode == 0, done.stderr
        return done.stderr.split("to resume this bottle: claude-bottle resume ")[1].split()[0]

    def own_git(self) -> dict[str, bytes]:
        """What git obeys in the operator's repository."""
        git = self.place / ".git"
        found = [git / "config", git / "HEAD", *(git / "hooks").iterdir(), *git.glob("info/*")]
        return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.threat(86, 87, 88, 89, 92, 95, 97, 98, 100)
@pytest.mark.parametrize("mode", MODES)
def test_case_86_to_100_nothing_the_agent_leaves_acts_on_who_looks_at_it_applies_pulls_or_exports_it(
    operator: Operator, mode: str
) -> None:
    shop = Shop(operator, mode)
    before = shop.own_git()
    identity = shop.attack()

    shown = shop.operator.do("diff", identity)
    assert not [char for char in shown if not char.isprintable() and char not in "\n\t"]
    for trigger in ("agent", "ci", "devcontainer", "editor", "git", "links", "make", "packages", "python", "shell"):
        assert f"\n  {trigger}\n" in shown
    assert shown.index("needs --allow") < shown.index("everything else")
    for path in (".git/config", ".git/hooks/post-checkout", "nested/.git"):
        assert path in shown.split("never carried over")[1]

    refused = shop.operator.run("apply", identity)
    assert refused.returncode == 3, refused.stderr
    there = {os.fsdecode(name) for name in os.listdir(os.fsencode(shop.place))}
    names = (b"-rf", b"new\nline", b"\x1b]0;title\x07", b"\xff\xfe", b"CASE", b"case")
    assert {os.fsdecode(name) for name in names} <= there
    assert not there & {".envrc", ".mcp.json", "conftest.py", "evil.pth", ".gitmodules", "link", "up", "dir", "pipe"}
    assert not (shop.place / "nested/.git").exists()
    assert not (shop.place / ".claude").is_dir() or not list((shop.place / ".claude").iterdir())

    pulled = json.loads(shop.operator.do("pull", identity, "--json"))
    assert pulled["commits"] == 1
    assert shop.shell(f"git -C {shop.place} log -1 --format=%s bottle/{identity}") == "work"
    assert "SECRET" not in shop.shell(f"git -C {shop.place} log -p --all")
    shop.shell(f"git -C {shop.place} fsck --strict")

    target = shop.above / "export"
    shop.operator.do("export", identity, str(target))
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in target.rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR}
    assert not [path for path in target.rglob("*") if path.lstat().st_mode & 0o7077]
    assert not [path for path in target.rglob("*") if path.name in (".git", "endless")]

    allowed = json.loads(shop.operator.run("apply", identity, "--allow", "links,make,setuid", "--json").stdout)
    assert {one["path"]: one["done"] for one in allowed["outcomes"]}["link"] == "applied"
    assert os.readlink(shop.place / "link") == "/etc/passwd"
    assert not [path for path in shop.place.rglob("*") if stat.S_IFMT(path.lstat().st_mode) == stat.S_IFREG
                and path.lstat().st_mode & 0o7000]  # fmt: skip
    assert shop.own_git() == before
    assert not shop.ran.exists()
    shop.operator.do("cleanup", identity, "--yes")
