"""A layer over root's directory as a container's workspace: seen whole, written beside, and gone with the container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import standstill
from claude_bottle.backend.base import Overlay
from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.errors import EnvironmentLacks, Refused
from claude_bottle.model.plan import Workspace
from claude_bottle.state import layers
from claude_bottle.state.merged import Merged
from tests.backend.docker.bottles import Place, launched, output, start
from tests.waiting import SECONDS, ended, readable

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: only root has overlays in containers")


@pytest.fixture
def source(place: Place) -> Path:
    found = place.root / "project"
    (found / "d").mkdir(parents=True)
    (found / "a").write_text("one\n")
    (found / "d/b").write_text("two\n")
    return found


def over(place: Place, source: Path) -> dict[str, Any]:
    """What `launched` takes for a layer over this directory, begun or gone on with."""
    begun = layers.open_at(place.root / "layers") or layers.begin_at(place.root / "layers", source)
    wanted = Overlay(source, begun.directory, begun.below)
    return {"workspace": Workspace("overlay", "/workspace", str(source)), "overlay": wanted}


def changed(place: Place) -> list[str]:
    begun = layers.open_at(place.root / "layers")
    assert begun
    return [one.path for one in Merged(begun).differences()]


def test_what_is_written_lands_in_the_layer_and_the_next_container_goes_on_from_it(place: Place, source: Path) -> None:
    with launched(place, **over(place, source)) as bottle:
        script = "stat -c %U . a d; cat a d/b; echo more >> a; rm d/b; mkdir n; ln -s a l; ls"
        code, said = output(bottle, "sh", "-ec", script)
    assert (code, said) == (0, "agent\nagent\nagent\none\ntwo\na\nd\nl\nn\n")
    assert (source / "a").read_text() == "one\n"
    assert sorted(os.listdir(source / "d")) == ["b"]
    assert changed(place) == ["a", "d/b", "l", "n"]
    assert {path.lstat().st_uid for path in (place.root / "layers").rglob("*")} == {0}
    with launched(place, **over(place, source)) as bottle:
        assert output(bottle, "sh", "-ec", "cat a; ls d; echo x > n/x") == (0, "one\nmore\n")
    assert changed(place) == ["a", "d/b", "l", "n", "n/x"]


def test_the_mount_has_no_set_id_and_no_device_and_tells_nothing_of_this_host(place: Place, source: Path) -> None:
    with launched(place, **over(place, source)) as bottle:
        _, table = output(bottle, "cat", "/proc/self/mountinfo")
        _, flags = output(bottle, "python3", "-c", "import os; print(os.statvfs('.').f_flag)")
        outside = Path("/proc/self/mountinfo").read_text()
    (line,) = [line for line in table.splitlines() if line.split()[4] == "/workspace" and " - overlay " in line]
    assert int(flags) & os.ST_NOSUID
    assert int(flags) & os.ST_NODEV
    assert not int(flags) & os.ST_RDONLY
    assert str(place.root) not in line
    assert place.identity not in outside
    assert str(place.root / "layers") not in outside


def test_what_was_written_stays_when_the_container_is_killed(place: Place, source: Path) -> None:
    with launched(place, **over(place, source)) as bottle:
        assert output(bottle, "sh", "-c", "echo kept > kept")[0] == 0
        process = start(bottle, "sleep", "1000")
        place.engine.docker("kill", "--signal=KILL", bottle.name)
        assert ended(process.pid)
        assert readable(bottle.fileno(), SECONDS)
    assert changed(place) == ["kept"]
    assert (place.root / "layers/upper/kept").read_text() == "kept\n"


def test_programs_stand_still_while_it_is_copied_and_go_on(
    place: Place, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(standstill, "_SECONDS", SECONDS)  # nothing here waits for a disk, and this machine may be busy
    with launched(place, **over(place, source)) as bottle:
        end, other = os.pipe()
        process = start(bottle, "sh", "-c", "i=0; echo up; while :; do i=$((i+1)); echo $i > now; done", out=other)
        os.close(other)
        assert os.read(end, 3) == b"up\n"
        now = place.root / "layers/upper/now"
        with bottle.standing_still():
            states = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            seen = now.read_text() if now.exists() else ""
        assert states == "T"
        assert output(bottle, "sh", "-c", f"while [ \"$(cat now)\" = '{seen.strip()}' ]; do sleep 0.01; done") == (0, "")
        os.close(end)


@pytest.mark.threat(4)
def test_case_4_a_layer_reached_through_a_link_is_refused(place: Place, source: Path) -> None:
    wanted = over(place, source)
    source.rename(place.root / "moved")
    source.symlink_to(place.root / "moved")
    with pytest.raises(Refused) as refused, launched(place, **wanted):
        pass
    assert refused.value.why == "a part of this path is a symbolic link"
    assert place.objects() == []


def test_a_layer_that_cannot_be_laid_stops_the_launch(place: Place, source: Path) -> None:
    wanted = over(place, source)
    (place.root / "layers/work").rmdir()
    (place.root / "layers/work").write_text("no directory")
    with pytest.raises(EnvironmentLacks, match="cannot lay a private layer"), launched(place, **wanted):
        pass
    assert place.objects() == []


def test_what_became_a_directory_is_shown_as_the_workspace_where_the_plan_says_overlay(place: Place, source: Path) -> None:
    (place.workspace / "was").write_text("a layer\n")
    with launched(place, workspace=Workspace("overlay", "/workspace", str(source))) as bottle:
        assert output(bottle, "sh", "-c", "cat was; echo x > made; stat -c %U made") == (0, "a layer\nagent\n")
    assert (place.workspace / "made").stat().st_uid == 0


def test_a_bottle_of_an_ordinary_users_and_one_whose_gate_is_elsewhere_have_none(
    place: Place, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    assert DockerBackend().no_overlay(str(source), str(place.root)) == ""
    (place.root / "state").mkdir(mode=0o700)
    (place.root / "state/config.json").write_text(json.dumps({"gate": "container"}))
    (place.root / "state/config.json").chmod(0o600)
    assert "gate runs in a container" in DockerBackend().no_overlay(str(source), str(place.root))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in DockerBackend().no_overlay(str(source), str(place.root))
