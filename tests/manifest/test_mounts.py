"""Case 129: mounts are structured, their sources plain host paths, their targets nothing a bottle is built of."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest.mounts import check_on_host
from claude_bottle.model.plan import Mount
from tests.manifest.conftest import Place

Judge = Callable[..., list[str]]


@pytest.mark.parametrize(
    "source",
    [
        "relative", "./a", "../a", "", "$HOME/x", "~other/x", "/a/../etc", "/a/./b", "/a\nb", "/a\0b",
        "/", "~", "~/", "//", "/proc", "/proc/self", "//proc/self", "/srv//x", "/sys/fs", "/dev/mem",
        "/run/docker.sock", "/var/run/docker.sock",
    ],
)  # fmt: skip
def test_case_129_a_dangerous_source_is_refused(bottle_problems: Judge, source: str) -> None:
    (problem,) = bottle_problems(mounts=[{"source": source, "target": "/srv/x"}])
    assert "bottles.web.mounts[0].source" in problem


def test_case_129_the_state_root_the_home_and_what_holds_them_are_refused(place: Place) -> None:
    for source in (place.paths.root, place.paths.root / "state", place.home_dir, place.base, place.base.parent):
        content = {"version": 1, "bottles": {"b": {"mounts": [{"source": str(source), "target": "/srv/x"}]}}}
        (problem,) = place.problems(content)
        assert "never shown in a bottle" in problem


@pytest.mark.parametrize(
    "target",
    [
        "relative", "", "/", "//x", "/a/../b", "/a/", "/usr", "/usr/local/bin", "/etc", "/etc/passwd", "/proc/x", "/dev/x",
        "/lib64", "/home", "/home/agent", "/workspace", "/workspace/sub", "/tmp", "/opt", "/a\nb",
        "/.init", "/.init/cat", "/opt/claude-bottle", "/opt/claude-bottle/init.py",
    ],
)  # fmt: skip
def test_case_129_a_target_over_what_a_bottle_is_built_of_is_refused(bottle_problems: Judge, target: str) -> None:
    (problem,) = bottle_problems(mounts=[{"source": "/srv/x", "target": target}])
    assert "bottles.web.mounts[0].target" in problem


def test_case_129_colons_and_commas_are_plain_characters(place: Place) -> None:
    mounts = [{"source": "/srv/a:/etc:rw,exec", "target": "/srv/b:c,d"}, {"source": "~/x", "target": "/srv/x", "mode": "rw"}]
    place.project({"version": 1, "bottles": {"b": {"mounts": mounts}}})
    assert place.resolve().bottles["b"].mounts == (
        Mount("/srv/a:/etc:rw,exec", "/srv/b:c,d", "ro"),
        Mount(f"{place.home_dir}/x", "/srv/x", "rw"),
    )


@pytest.mark.parametrize("second", ["/srv/a", "/srv/a/b"])
def test_mounts_do_not_lie_in_each_other(bottle_problems: Judge, second: str) -> None:
    mounts = [{"source": "/x", "target": "/srv/a"}, {"source": "/y", "target": second}]
    (problem,) = bottle_problems(mounts=mounts)
    assert "lie in each other" in problem


def test_mounts_beside_each_other_with_a_common_beginning_are_fine(place: Place) -> None:
    targets = ["/srv/a", "/srv/a-b", "/srv/ab"]
    mounts = [{"source": "/x", "target": target} for target in targets]
    place.project({"version": 1, "bottles": {"b": {"mounts": mounts}}})
    assert len(place.resolve().bottles["b"].mounts) == 3


def test_a_mount_nested_in_another_is_found_though_a_third_sorts_between(bottle_problems: Judge) -> None:
    mounts: list[dict[str, Any]] = [{"source": "/x", "target": t} for t in ("/srv/a", "/srv/a-b", "/srv/a/b")]
    (problem,) = bottle_problems(mounts=mounts)
    assert "lie in each other" in problem


@pytest.mark.parametrize("name", [".ssh", ".config/gh", ".ssh/id_ed25519", ".config"])
def test_a_mount_of_the_operators_keys_is_warned_about(place: Place, name: str) -> None:
    mounts = [{"source": f"~/{name}", "target": "/srv/x"}]
    place.home({"version": 1, "bottles": {"b": {"mounts": mounts}}})
    assert any("shows the bottle your" in warning for warning in place.resolve().warnings)


def test_on_the_host_only_directories_and_files_reached_through_no_link_pass(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
    for good in ("real", "real/sub", "real/file"):
        check_on_host(Mount(str(tmp_path / good), "/srv/x"))
    for bad, why in (
        ("link", "is a link"),
        ("link/sub", "is a link"),
        ("missing", "No such file"),
        ("fifo", "neither a directory nor a regular file"),
        ("sock", "neither a directory nor a regular file"),
    ):
        with pytest.raises(BottleError) as refused:
            check_on_host(Mount(str(tmp_path / bad), "/srv/x"))
        assert why in refused.value.why
