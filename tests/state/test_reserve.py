from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.state.reserve import allocate_beyond_end


def test_reserved_room_does_not_lengthen_the_file(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"content")
        if not allocate_beyond_end(fd, 7, 65536):
            pytest.skip("cannot run here: this file system reserves nothing")
        assert os.fstat(fd).st_size == 7
        assert os.fstat(fd).st_blocks * 512 >= 65536
    finally:
        os.close(fd)


def test_room_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(OSError):
            allocate_beyond_end(fd, 0, 1 << 60)
    finally:
        os.close(fd)
