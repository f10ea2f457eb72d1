from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.harness.agent_home import AgentHome, parse_object


def test_a_fifo_is_never_read_even_with_a_writer_at_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "settings")
    writer = os.open(tmp_path / "settings", os.O_RDWR)
    try:
        os.write(writer, b"{}")
        assert AgentHome(tmp_path).read("settings", 100) is None
    finally:
        os.close(writer)


def test_a_file_over_the_limit_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "settings").write_bytes(b"{}" + b" " * 98)
    assert AgentHome(tmp_path).read("settings", 100) is not None
    assert AgentHome(tmp_path).read("settings", 99) is None


def test_a_home_that_is_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "settings").write_text("{}")
    (tmp_path / "link").symlink_to("real")
    home = AgentHome(tmp_path / "link")
    assert home.read("settings", 100) is None
    assert home.files(".") == []
    with pytest.raises(OSError, match=r"link|Not a directory"):
        home.write("settings", b"changed")
    assert (tmp_path / "real" / "settings").read_text() == "{}"


def test_files_lists_regular_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_text("x")
    (folder / "link").symlink_to("file")
    os.mkfifo(folder / "fifo")
    assert [name for name, _ in AgentHome(tmp_path).files("folder")] == ["file"]


def test_writing_is_private_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    AgentHome(tmp_path).write("a/b/settings", b"{}")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["settings"]
    assert (tmp_path / "a" / "b" / "settings").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_an_empty_one(data: bytes | None) -> None:
    assert parse_object(data) == {}
