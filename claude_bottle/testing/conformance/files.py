"""Files: a private home and workspace that come back, mounts as they were said, nothing else of the host."""

from __future__ import annotations

import os

from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance.place import Place, run, shell
from claude_bottle.testing.conformance.registry import group

_MIB = 1 << 20

files, counted = group("files"), group("files", harmless=True)


@files
def home_and_workspace_hold_what_was_put_there(place: Place) -> None:
    (place.home / "settings").write_text("seeded")
    (place.home / "deep" / "er").mkdir(parents=True)
    (place.home / "deep" / "er" / "file").write_text("below")
    (place.workspace / "work").write_text("given")
    with place.up() as bottle:
        assert shell(bottle, "cat ~/settings ~/deep/er/file /workspace/work").out == "seededbelowgiven"


@files
def they_can_be_written_and_come_back(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "echo kept > ~/made; mkdir -p ~/a/b; echo deep > ~/a/b/c; echo w > /workspace/done").code == 0
        bottle.close()
        bottle.fetch_home()
    assert (place.home / "made").read_text() == "kept\n"
    assert (place.home / "a" / "b" / "c").read_text() == "deep\n"
    assert (place.workspace / "done").read_text() == "w\n"


@files
def a_conversation_can_be_fetched_while_the_bottle_runs(place: Place) -> None:
    with place.up() as bottle:
        shell(bottle, "mkdir -p ~/.claude/projects/x; echo one > ~/.claude/projects/x/talk.jsonl; echo no > ~/other")
        bottle.fetch_home([".claude/projects", "not/there"])
        talk = place.home / ".claude" / "projects" / "x" / "talk.jsonl"
        assert talk.read_text() == "one\n"
        shell(bottle, "echo two >> ~/.claude/projects/x/talk.jsonl")
        bottle.fetch_home([".claude/projects"])
        assert talk.read_text() == "one\ntwo\n"


@files
def what_was_fetched_can_be_launched_again(place: Place) -> None:
    with place.up() as bottle:
        shell(bottle, "echo first > ~/log; chmod 600 ~/log")
        bottle.close()
        bottle.fetch_home()
    with place.up() as bottle:
        assert shell(bottle, "echo second >> ~/log && cat ~/log").out == "first\nsecond\n"


@files
def a_link_out_of_the_home_is_never_followed(place: Place) -> None:
    canary = place.directory / "canary"
    canary.mkdir()
    (canary / "secret").write_text("untouched")
    with place.up() as bottle:
        shell(bottle, f"ln -s {canary} ~/out; ln -s {canary}/secret ~/file")
        shell(bottle, "mkdir -p ~/.claude; ln -s /etc ~/.claude/projects")
        bottle.fetch_home([".claude/projects"])
        bottle.close()
        bottle.fetch_home()
    assert (canary / "secret").read_text() == "untouched"
    assert sorted(os.listdir(canary)) == ["secret"]
    assert not (place.home / ".claude" / "projects").is_dir() or (place.home / ".claude" / "projects").is_symlink()


@files
def what_is_no_file_does_not_stop_the_fetching(place: Place) -> None:
    with place.up() as bottle:
        shell(bottle, "mkfifo ~/pipe; echo good > ~/good; touch ~/closed; chmod 000 ~/closed; mkdir -m 000 ~/shut")
        bottle.close()
        bottle.fetch_home()
    assert (place.home / "good").read_text() == "good\n"
    os.chmod(place.home / "shut", 0o700)


@counted
def a_limit_on_disk_is_enforced_by_the_keeper(place: Place) -> None:
    (limit,) = [limit for limit in place.plan(limits={"disk": "1g"}).limits if limit.name == "disk"]
    assert (limit.enforced, limit.kept_here) == (True, True)


@counted
def what_it_writes_is_counted_once_and_what_the_host_shows_it_is_not(place: Place) -> None:
    """Wherever it lies, in directories that it has closed, and in those that it closes itself out of."""
    mount = place.mount("shown", "/home/agent/shown")
    (place.directory / "shown" / "big").write_bytes(bytes(8 * _MIB))
    private = (place.home, place.workspace) if place.backend.files_are_here else ()
    write = f"mkdir -p d/e && head -c {_MIB} /dev/zero > d/e/big && ln d/e/big d/again && chmod 0 d/e d"
    with place.up(mounts=[mount]) as bottle:
        found = []
        for script in ("true", write, f"cd && {write}", "chmod -R 700 d ~/d && rm -r d ~/d"):
            assert shell(bottle, script).code == 0, script
            usage = bottle.disk_usage(private, 1 << 40)
            try:
                found.append(usage.held())
            finally:
                usage.close()
    begun, once, twice, again = found
    for more, mebibytes in ((begun, 0), (once, 1), (twice, 2), (again, 0)):
        assert mebibytes * _MIB <= more < (mebibytes + 0.5) * _MIB, found


@files
def a_mount_is_read_only_unless_it_says_otherwise(place: Place) -> None:
    shown, changed = place.mount("shown", "/opt/shown"), place.mount("changed", "/opt/changed", "rw")
    (place.directory / "shown" / "file").write_text("as it was")
    os.chmod(place.directory / "changed", 0o777)
    with place.up(mounts=[shown, changed]) as bottle:
        assert run(bottle, ["cat", "/opt/shown/file"]).out == "as it was"
        assert shell(bottle, "echo x > /opt/shown/file").code != 0
        assert shell(bottle, "echo x > /opt/shown/new").code != 0
        assert shell(bottle, "rm -f /opt/shown/file").code != 0
    assert (place.directory / "shown" / "file").read_text() == "as it was"


@files
def a_mount_of_one_file_works(place: Place) -> None:
    (place.directory / "one").write_text("single")
    mount = {"source": str(place.directory / "one"), "target": "/opt/one", "mode": "ro"}
    with place.up(mounts=[mount]) as bottle:
        assert run(bottle, ["cat", "/opt/one"]).out == "single"


@files
def a_mount_that_became_a_link_is_refused(place: Place) -> None:
    mount = place.mount("swapped", "/opt/swapped")
    plan = place.plan(mounts=[mount])
    (place.directory / "swapped").rmdir()
    (place.directory / "swapped").symlink_to("/etc")
    try:
        with place.backend.launch(plan, boot=place.boot()):
            raise AssertionError("a link was mounted")
    except BottleError as problem:
        assert problem.what


@files
def temporary_files_are_private_and_go(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "for d in /tmp /var/tmp /dev/shm; do echo x > $d/conformance || exit 1; done").code == 0
    assert not os.path.exists("/tmp/conformance")
    with place.up() as bottle:
        assert shell(bottle, "test -e /tmp/conformance || test -e /var/tmp/conformance").code != 0


@files
def the_workspace_can_begin_as_a_copy(place: Place) -> None:
    source = place.directory / "source"
    (source / "src").mkdir(parents=True)
    (source / "src" / "file").write_text("copied")
    (source / "skip").write_text("not this")
    (source / ".dockerignore").write_text("skip\n")
    with place.up(place.boot(copy_from=source)) as bottle:
        assert shell(bottle, "cat src/file; ls").out == "copiedsrc\n"
        assert shell(bottle, "echo changed > src/file").code == 0
        bottle.close()
        bottle.fetch_home()
    assert (source / "src" / "file").read_text() == "copied"
    assert (place.workspace / "src" / "file").read_text() == "changed\n"


@files
def the_operators_own_directory_is_worked_on_directly(place: Place) -> None:
    project = place.directory / "project"
    project.mkdir()
    (project / "mine").write_text("given")
    with place.up(place.boot(workspace=project), cwd=project, workspace={"mode": "bind"}) as bottle:
        assert shell(bottle, "cat mine && test -O mine -a -O . && echo seen > new && mkdir d && mv mine d").out == "given"
        assert (project / "new").read_text() == "seen\n"
        (project / "later").write_text("now")
        assert shell(bottle, "cat later").out == "now"
    assert (project / "d" / "mine").read_text() == "given"
    assert {os.stat(project / name).st_uid for name in ("new", "d", "d/mine")} == {os.stat(project).st_uid}


@files
def the_certificates_of_the_bottle_are_the_only_ones(place: Place) -> None:
    bundle = b"-----BEGIN CERTIFICATE-----\nMIIconformance\n-----END CERTIFICATE-----\n"
    with place.up(place.boot(ca_bundle=bundle)) as bottle:
        assert run(bottle, ["cat", "/etc/ssl/certs/ca-certificates.crt"]).out.encode() == bundle
        assert shell(bottle, "echo x >> /etc/ssl/certs/ca-certificates.crt").code != 0
