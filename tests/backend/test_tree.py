"""Copying a directory of the operator's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend import tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    for name in ("src/a.py", "node_modules/x.js", "notes.md", "keep.md", "run.sh"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"content of {name}\n")
    (place / "run.sh").chmod(0o755)
    (place / "link").symlink_to("/etc/passwd")
    (place / ".dockerignore").write_text("node_modules\n*.md\n!keep.md\n")
    return place


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    tree.copy_into(source, target)
    return target


def test_a_copy_holds_everything_but_what_is_ignored(source: Path, copied: Path) -> None:
    found = sorted(str(path.relative_to(copied)) for path in copied.rglob("*"))
    assert found == [".dockerignore", "keep.md", "link", "run.sh", "src", "src/a.py"]
    assert os.readlink(copied / "link") == "/etc/passwd"
    assert (copied / "run.sh").stat().st_mode & 0o777 == 0o755


def test_nothing_is_copied_onto_what_is_there(source: Path, copied: Path) -> None:
    from claude_bottle.errors import BottleError

    with pytest.raises(BottleError):
        tree.copy_into(source, copied)


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system whose files can share blocks."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("cannot run here: takes root and btrfs-progs")
    place = tmp_path_factory.mktemp("btrfs")
    image, mounted = place / "image", place / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, mounted], check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot run here: this kernel mounts no btrfs from a file")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)  # whoever on this host looks at it just now


def test_where_files_can_share_blocks_a_copy_takes_no_room_and_is_one_all_the_same(sharing: Path) -> None:
    source, target = sharing / "source", sharing / "target"
    for place in (source, target):
        place.mkdir()
    for name, size in (("large", 150 << 20), ("odd", 100_001), ("small", 2), ("empty", 0)):
        (source / name).write_bytes(os.urandom(1 << 16) * (size >> 16) + b"x" * (size & 0xFFFF))
    tree.copy_into(source, target)  # a second time in full would not fit
    assert all((source / name).read_bytes() == (target / name).read_bytes() for name in ("large", "odd", "small", "empty"))
    (target / "odd").write_bytes(b"changed")
    assert (source / "odd").stat().st_size == 100_001
