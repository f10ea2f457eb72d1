"""What a build left is hostile: whatever lies where, nothing outside of it is read, nothing outside of the layer written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap.layer_copy import take_over
from claude_bottle.errors import BottleError

MOST = 1 << 20


class Left:
    """A build's directory, with something beside it that is nobody's business."""

    def __init__(self, place: Path) -> None:
        self.work, self.root, self.outside = place / "work", place / "root", place / "outside"
        for made in (self.work / "layer", self.outside):
            made.mkdir(parents=True)
        (self.outside / "canary").write_text("secret")
        (self.outside / "postinst").write_text("update-alternatives --install /usr/bin/from-outside n /usr/bin/x 1")

    def put(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        target = self.work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def taken(self, most: int = MOST) -> list[str]:
        take_over(self.work, self.root, most)
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def test_usr_and_etc_come_along_and_what_lay_beside_usr_lies_in_it(left: Left) -> None:
    for path in ("usr/bin/one", "bin/two", "sbin/three", "lib/x/four", "etc/five", "var/lib/six", "opt/seven", "home/x"):
        left.put(f"layer/{path}")
    files = [path for path in left.taken() if (left.root / path).is_file()]
    assert files == ["etc/five", "usr/bin/one", "usr/bin/two", "usr/lib/x/four", "usr/sbin/three"]


def test_a_layer_that_is_a_link_is_none(left: Left) -> None:
    (left.outside / "usr").mkdir()
    (left.outside / "usr" / "canary").touch()
    (left.work / "layer").rmdir()
    (left.work / "layer").symlink_to(left.outside)
    with pytest.raises(BottleError, match="could not be built"):
        left.taken()


def test_a_part_that_is_a_link_is_left_out(left: Left) -> None:
    (left.work / "layer" / "usr").symlink_to(left.outside)
    (left.work / "layer" / "bin").symlink_to(left.outside)
    left.put("layer/etc/own")
    assert left.taken() == ["etc", "etc/own"]


def test_links_inside_stay_links(left: Left) -> None:
    left.put("layer/usr/bin/one")
    (left.work / "layer/usr/out").symlink_to(left.outside)
    (left.work / "layer/usr/bin/absolute").symlink_to("/etc/passwd")
    assert left.taken() == ["usr", "usr/bin", "usr/bin/absolute", "usr/bin/one", "usr/out"]
    assert os.readlink(left.root / "usr/out") == str(left.outside)


def test_no_maintainer_script_is_read_through_a_link(left: Left) -> None:
    left.put("layer/usr/bin/x")
    (left.work / "control").mkdir()
    (left.work / "control" / "1").symlink_to(left.outside)
    (left.work / "control" / "2").mkdir()
    (left.work / "control" / "2" / "postinst").symlink_to(left.outside / "postinst")
    (left.work / "control" / "3" / "postinst").mkdir(parents=True)
    (left.work / "control" / "4").mkdir()
    os.mkfifo(left.work / "control" / "4" / "postinst")
    assert not [path for path in left.taken() if "from-outside" in path]


def test_what_would_be_linked_is_linked_beneath_the_layer_only(left: Left) -> None:
    """The way to the link leads, inside the layer, to a link that leads out of it."""
    left.put("layer/usr/bin/x")
    (left.work / "layer/usr/games").symlink_to(left.outside)
    left.put("control/1/postinst", "update-alternatives --install /usr/games/planted n /usr/bin/x 1\n"
             "update-alternatives --install /usr/bin/planted-too n /usr/bin/x 1\n")  # fmt: skip
    assert "usr/bin/planted-too" in left.taken()
    assert sorted(os.listdir(left.outside)) == ["canary", "postinst"]


def test_a_name_that_the_host_has_is_never_linked(left: Left) -> None:
    left.put("layer/usr/bin/x")
    left.put("control/1/postinst", "update-alternatives --install /usr/bin/env n /usr/bin/x 1")
    assert "usr/bin/env" not in left.taken()


def test_set_id_bits_pipes_and_sockets_stay_behind(left: Left) -> None:
    left.put("layer/usr/bin/root", mode=0o6755)
    left.put("layer/usr/share/closed", mode=0o600)
    os.mkfifo(left.work / "layer/usr/bin/pipe")
    assert left.taken() == ["usr", "usr/bin", "usr/bin/root", "usr/share", "usr/share/closed"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in left.root.rglob("*")}
    assert (modes["root"], modes["closed"], modes["bin"]) == (0o555, 0o444, 0o555)


OURS = ("usr/bin/env", "bin/setpriv", "usr/bin/cat", "etc/passwd", "etc/ld.so.preload", "etc/ld.so.cache")


@pytest.mark.parametrize("path", OURS)
def test_what_is_ours_to_say_stays_behind(left: Left, path: str) -> None:
    left.put(f"layer/{path}", "hostile")
    left.put("layer/usr/bin/one")
    assert not [one for one in left.taken() if one.endswith(Path(path).name)]


def test_too_much_is_too_much(left: Left) -> None:
    left.put("layer/usr/one", "x" * 600)
    left.put("layer/etc/two", "x" * 600)
    with pytest.raises(BottleError):
        left.taken(1000)
