"""Which of the host's programs a sandbox is made of, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap import programs
from claude_bottle.errors import EnvironmentLacks
from tests import in_bottle
from tests.backend.keeping import keep, place_of
from tests.ordinary_user import Person

AWKWARD = "a  b\n\t'\"$(x)-é-☃ –=,:"


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_directories_with_any_name_are_shown(person: Person, bwrap: str) -> None:
    source = f"""
odd = os.path.join(os.fsencode(place), {AWKWARD!r}.encode() + b"\\xff")
for name in (b"home", b"workspace", b"data"):
    os.makedirs(os.path.join(odd, name))
    open(os.path.join(odd, name, b"here"), "w").close()
at = os.fsdecode(odd)
mounts = [[at + "/data", "/data/" + {AWKWARD!r}, "ro"]]
with launch(home=at + "/home", workspace=at + "/workspace", mounts=mounts, bwrap={bwrap!r}) as bottle:
    show(output(bottle, "sh", "-c", "ls ~ /workspace; cat /data/*/here; touch /workspace/new && ls /data"))
"""
    code, text = keep(person, source)
    assert code == 0
    assert text == f"/home/agent:\nhere\n\n/workspace:\nhere\n{AWKWARD}\n"


def test_a_very_long_path_is_shown(person: Person) -> None:
    source = """
deep = place + ("/" + "d" * 200) * 15
os.makedirs(deep + "/home"), os.makedirs(deep + "/workspace")
with launch(home=deep + "/home", workspace=deep + "/workspace") as bottle:
    show([len(deep) > 3000, output(bottle, "pwd")])
"""
    assert keep(person, source) == [True, [0, "/workspace\n"]]


def test_bwrap_runs_from_the_stage_where_no_profile_is_attached(person: Person) -> None:
    source = """
with launch() as bottle:
    show(os.path.basename(os.readlink(f"/proc/{bottle._sandbox.holder}/exe")) == "bwrap"
         and not os.readlink(f"/proc/{bottle._sandbox.holder}/exe").startswith("/usr/bin"))
"""
    if person.uid == 0:
        assert keep(person, source) is True
    else:
        assert programs.Programs("/usr/bin/bwrap", None, "").bwrap_path("/tmp") == "/tmp/bwrap"


def test_busyboxes_programs_are_told_from_those_that_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_knows", lambda path, option: False)
    for find, package in ((programs.find_env, "coreutils"), (programs.find_setpriv, "util-linux")):
        with pytest.raises(EnvironmentLacks) as caught:
            find()
        assert (caught.value.do, "busybox" in caught.value.why) == (f"install the package {package}", True)


def test_a_system_without_usr_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/nix/store")
    with pytest.raises(EnvironmentLacks) as caught:
        programs.find_cat()
    assert "outside /usr" in caught.value.why
    assert caught.value.do == "use --backend docker"


def test_a_machine_whose_libraries_lie_in_real_directories_works(person: Person) -> None:
    """Where /bin and /lib are no links into /usr (before the merge, Alpine) they are shown as they are."""
    source = """
import stat
from claude_bottle.backend.bubblewrap import rootfs
real = os.path.islink
rootfs.os.path.islink = lambda path: path not in ("/bin", "/lib", "/lib64", "/sbin") and real(path)
with launch() as bottle:
    rootfs.os.path.islink = real
    show([output(bottle, "/bin/sh", "-c", "echo yes"), output(bottle, "stat", "-c", "%F", "/bin", "/lib")])
"""
    assert keep(person, source, place_of(person)) == [[0, "yes\n"], [0, "directory\ndirectory\n"]]


def test_a_library_cache_too_large_to_copy_is_left_out_and_not_cut(person: Person) -> None:
    keeper = "from claude_bottle.backend.bubblewrap import rootfs\nrootfs._copy.__defaults__ = (0o444, 16)\n"
    source = keeper + "with launch() as b: show(output(b, 'ls', '/etc'))"
    code, names = keep(person, source)
    assert (code, "ld.so.cache" in names) == (0, False)
    assert in_bottle.run(person, ["ls", "/etc/ld.so.cache"])["code"] == 0
