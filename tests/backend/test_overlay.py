"""A workspace over the operator's directory: all of it seen, nothing of it changed, and read on the host as it is inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import childhood, flatten, idmaps, overlay, sources, stage
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.base import Overlay
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.state import host_edits, layers
from claude_bottle.state.merged import Merged
from tests import in_bottle
from tests.ordinary_user import Person

GIT = "git -c user.name=a -c user.email=a@b.test"


class Project:
    """A directory of a person's, and where the layers over it are kept."""

    def __init__(self, person: Person, files: dict[str, str]) -> None:
        self.person = person
        self.source, self.home = person.directory("source"), person.directory("home")
        self.layers = person.directory("state") / "layers"
        for name, text in files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        self.do("sh", "-c", 'mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"', "-", str(self.source / name), text)

    def do(self, *argv: str) -> str:
        done = self.person.run(argv)
        assert done.returncode == 0, done
        return done.stdout

    def sh(self, script: str) -> str:
        """What a shell in a bottle over it printed."""
        answer = in_bottle.run(self.person, ["/bin/sh", "-ec", script], home=str(self.home), overlay=self.place, gate=False)
        assert answer["code"] == 0, answer
        return str(answer["out"])

    def python(self, source: str) -> Any:
        return in_bottle.probe(self.person, source, home=str(self.home), overlay=self.place, gate=False)

    @property
    def place(self) -> list[str]:
        return [str(self.source), str(self.layers)]

    @property
    def begun(self) -> layers.Layers:
        found = layers.open_at(self.layers) if os.geteuid() == self.person.uid else None
        return found or layers.understand(self.layers, json.loads((self.layers / layers.NOTE).read_text()))

    def changed(self) -> list[str]:
        return [one.path for one in Merged(self.begun).differences()]


def listing(place: Path) -> dict[str, object]:
    """Everything below a directory: kind and mode, and content."""
    found: dict[str, object] = {}
    for path in sorted(place.rglob("*")):
        mode = path.lstat().st_mode
        content: object = None
        if path.is_symlink():
            mode, content = 0, os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(place))] = (mode, content)
    return found


def test_what_is_written_lands_in_the_layer_and_the_original_stays_as_it_is(person: Person) -> None:
    project = Project(person, {"a": "one\n", "d/b": "two\n", "d/c": "three\n", "gone": "x"})
    before = listing(project.source)
    said = project.sh("cat a d/b; echo more >> a; rm gone; rm -r d; mkdir d; echo new > d/n; ln -s a link; chmod 700 a; ls d")
    assert said == "one\ntwo\nn\n"
    assert listing(project.source) == before
    assert project.changed() == ["a", "d/b", "d/c", "d/n", "gone", "link"]
    assert project.sh("cat a d/n; ls") == "one\nmore\nnew\na\nd\nlink\n"  # the next launch goes on from there


def test_what_is_changed_back_is_no_difference(person: Person) -> None:
    project = Project(person, {"a": "one\n", "d/b": "two\n", "run": "x"})
    project.sh("echo two > a; echo one > a; mv d e; mv e d; touch d/b; chmod 755 run; chmod 644 run; mkdir x; rmdir x")
    assert project.changed() == []


def test_an_empty_session_leaves_no_difference(person: Person) -> None:
    project = Project(person, {"a": "one\n"})
    assert project.sh("ls") == "a\n"
    assert project.changed() == []
    assert host_edits.edited(project.begun) == []


def test_git_works_in_it_and_the_original_repository_does_not_change(person: Person) -> None:
    project = Project(person, {"a": "one\n", "sub/b": "two\n"})
    project.do("sh", "-ec", f"cd {project.source}; git init -q -b main; git add .; {GIT} commit -qm first; echo dirty >> a")
    before = listing(project.source)
    said = project.sh(f"""git status --short; git checkout -qb other; echo more >> sub/b; {GIT} commit -qam second
        {GIT} stash list; git log --format=%s; git gc -q; git worktree add -q ../tmp/w main; git branch -q -D main || true
        git mv a renamed; {GIT} commit -qm third; git fsck""")
    assert said.splitlines()[:3] == [" M a", "second", "first"]
    assert listing(project.source) == before
    assert project.sh("git log --format=%s; git status --short; cat a 2>/dev/null || cat renamed") == (
        "third\nsecond\nfirst\none\ndirty\n"
    )


def test_a_program_with_set_id_in_the_original_has_none_inside_and_the_mount_has_no_devices(person: Person) -> None:
    project = Project(person, {"a": "x"})
    found = project.python("import json, os; print(json.dumps(os.statvfs('/workspace').f_flag))")
    assert found & os.ST_NOSUID
    assert found & os.ST_NODEV
    assert not found & os.ST_RDONLY


@pytest.mark.threat(4)
@pytest.mark.parametrize("what", ["source", "layers"])
def test_case_4_a_layer_reached_through_a_link_is_refused(person: Person, what: str) -> None:
    project = Project(person, {"a": "x"})
    project.sh("ls")
    link = person.directory("links") / "link"
    link.symlink_to(project.source if what == "source" else project.layers.parent)
    place = [str(link), str(project.layers)] if what == "source" else [str(project.source), str(link / "layers")]
    if what == "source":
        note = json.loads((project.layers / layers.NOTE).read_text())
        (project.layers / layers.NOTE).write_text(json.dumps({**note, "source": str(link)}))
    with pytest.raises(BottleError) as refused:
        in_bottle.run(person, ["true"], overlay=place, gate=False)
    assert refused.value.why == "a part of this path is a symbolic link"


def test_the_attributes_that_hide_things_cannot_be_set_from_inside(person: Person) -> None:
    """A bottle that could would make its next launch, or the host's reading of its layer, see what is not there."""
    project = Project(person, {"d/b": "two\n"})
    project.python("""
import json, os
tries = {}
for name in ("user.overlay.opaque", "user.overlay.redirect", "user.overlay.metacopy", "trusted.overlay.opaque"):
    try:
        os.mkdir("made") if not os.path.exists("made") else None
        os.setxattr("d", name, b"y")
        tries[name] = "ok"
    except OSError as e:
        tries[name] = e.errno
print(json.dumps(tries))
""")
    assert project.sh("cat d/b") == "two\n"
    assert project.changed() == ["made"]


def test_files_of_others_are_shown_as_they_are_and_can_be_removed_but_not_written(person: Person) -> None:
    project = Project(person, {"mine": "x"})
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root can make a file of somebody else's")
    for name, mode in (("theirs", 0o644), ("closed", 0o600), ("open", 0o666)):
        (project.source / name).write_text(name)
        (project.source / name).chmod(mode)
        os.chown(project.source / name, 4242, 4242)
    said = project.sh("cat theirs; cat closed || echo no; echo x >> theirs || echo no; rm theirs; ls; id -un")
    assert said == "theirsno\nno\nclosed\nmine\nopen\nagent\n"
    assert (project.source / "theirs").read_text() == "theirs"
    assert project.changed() == ["theirs"]


def test_what_the_host_changes_meanwhile_is_found_whatever_its_times_say(person: Person) -> None:
    project = Project(person, {"a": "one\n", "d/b": "two\n", "d/c": "x", "same": "y"})
    project.sh("echo mine > mine")
    assert host_edits.edited(project.begun) == []
    project.write("a", "changed\n")
    os.utime(project.source / "a", (1, 1))
    (project.source / "d" / "c").unlink()
    assert host_edits.edited(project.begun) == ["a", "d"]
    assert "a, d" in host_edits.describe(["a", "d"])


def test_a_copy_of_it_holds_what_is_seen_in_it(person: Person, tmp_path: Path) -> None:
    project = Project(person, {"a": "one\n", "d/b": "two\n", "d/e/f": "three\n", "gone/x": "x"})
    project.sh("echo more >> a; rm -r gone d/e; mkdir d/e; echo n > d/e/n; ln -s /etc/passwd l; chmod 0 a; chmod 0 d/e")
    flatten.into(project.begun, tmp_path / "copy")
    found = {path: content for path, (_, content) in listing(tmp_path / "copy").items()}  # type: ignore[misc]
    assert found == {"a": b"one\nmore\n", "d": None, "d/b": b"two\n", "d/e": None, "d/e/n": b"n\n", "l": "/etc/passwd"}


STORM = """
import hashlib, json, os, random, shutil, stat
chance = random.Random(SEED)
names = ["a", "b", "c", "d", "e"]
def place():
    return "/".join(chance.choice(names) for _ in range(chance.randint(1, 3)))
def write(path):
    with open(path, chance.choice(["w", "a"])) as file:
        file.write(str(chance.random()) * chance.randint(0, 3))
def step():
    path, other = place(), place()
    chance.choice([
        lambda: write(path), lambda: write(path), lambda: os.mkdir(path), lambda: os.makedirs(path),
        lambda: os.unlink(path), lambda: shutil.rmtree(path), lambda: os.rename(path, other), lambda: os.symlink(other, path),
        lambda: os.chmod(path, chance.choice([0o700, 0o755, 0o740])) if not os.path.islink(path) else None,
        lambda: os.link(path, other, follow_symlinks=False), lambda: os.truncate(path, 2), lambda: os.replace(path, other),
    ])()
for _ in range(400):
    try:
        step()
    except (OSError, shutil.Error):
        pass
def seen(top):
    found = {}
    for below, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(below, name)
            mode = os.lstat(path).st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else open(path).read() if stat.S_ISREG(mode) else ""
            found[os.path.relpath(path, top)] = [stat.S_IFMT(mode), 0 if stat.S_ISLNK(mode) else mode & 0o777, content]
    return found
print(json.dumps(seen(".")))
"""


def seen_by_host(merged: Merged, path: str = "") -> dict[str, list[object]]:
    import stat

    found: dict[str, list[object]] = {}
    for name in merged.names(path):
        here = f"{path}/{name}" if path else name
        entry = merged.entry(here)
        assert entry is not None
        content = ""
        if stat.S_ISLNK(entry.st_mode):
            content = merged.link(here)
        elif stat.S_ISREG(entry.st_mode):
            with open(merged.open(here)) as file:
                content = file.read()
        mode = 0 if stat.S_ISLNK(entry.st_mode) else entry.st_mode & 0o777
        found[here] = [stat.S_IFMT(entry.st_mode), mode, content]
        if stat.S_ISDIR(entry.st_mode):
            found |= seen_by_host(merged, here)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_after_any_edits_the_host_reads_what_is_seen_inside_and_knows_the_differences(person: Person, seed: int) -> None:
    """Several sessions one after the other; what differs is exactly what `differences` names."""
    project = Project(person, {f"{one}/{two}": f"{one}{two}" for one in "abc" for two in "abc"})
    for session in range(3):
        inside = project.python(STORM.replace("SEED", str(seed * 10 + session)))
        merged = Merged(project.begun)
        assert seen_by_host(merged) == inside
        original = seen_by_host(Merged(layers.begin_at(project.layers.with_name(f"empty-{session}"), project.source)))
        changed = sorted(path for path in {*original, *inside} if original.get(path) != inside.get(path))
        assert sorted(one.path for one in merged.differences()) == changed


def test_a_directory_with_something_mounted_in_it_is_told_apart(tmp_path: Path) -> None:
    assert overlay.why_not(str(tmp_path), str(tmp_path)) == ""
    assert "mounted in it" in overlay.why_not("/", str(tmp_path))
    assert "takes no upper layer" in overlay.why_not(str(tmp_path), "/proc/self")


def test_root_never_makes_the_layers_files_as_itself(person: Person) -> None:
    """Else a bottle of another identity, which has another uid, could not go on from them."""
    project = Project(person, {"a": "x"})
    project.sh("echo y > b; rm a; mkdir d")
    owners = {path.lstat().st_uid for path in project.layers.rglob("*")}
    assert owners == {person.uid}


def test_git_sees_no_change_of_a_fresh_checkout(person: Person) -> None:
    project = Project(person, {f"d{n}/f": str(n) for n in range(50)})
    project.do("sh", "-ec", f"cd {project.source}; git init -q; git add .; {GIT} commit -qm first")
    assert project.sh("git status --short") == ""



@pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: mounting takes root")
def test_a_layer_that_the_kernel_only_mounts_read_only_is_refused(tmp_path: Path) -> None:
    """It does so without a word where the mounter cannot make files in the layer: here, as root on an id-mapped one."""
    (tmp_path / "source").mkdir()
    begun = layers.begin_at(tmp_path / "layers", tmp_path / "source")
    wanted = Overlay(begun.source, begun.directory)

    def work() -> None:
        ns.unshare(ns.CLONE_NEWNS)
        ns.mount("", "/", "", ns.MS_REC | ns.MS_SLAVE)
        shift = idmaps.mapping_namespace((0, 0), (77777, 77777))
        opened = [sources.open_source(one, lambda uid, gid, others: shift) for one in overlay.layers(wanted)]
        made = stage.make_stage(1 << 20)
        for one in opened:
            stage.attach(one, made)
        overlay.mount(wanted, None)

    with pytest.raises(EnvironmentLacks, match="cannot lay a private layer") as refused:
        childhood.in_child(work)
    assert "read-only" in refused.value.why
