"""Files that measure more than they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.workspace import sparse

K = 1 << 16


def made(place: Path, pieces: dict[int, bytes], size: int, *, filled: bool = False) -> int:
    fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    if filled:
        os.pwrite(fd, bytes(size), 0)
    for at, data in pieces.items():
        os.pwrite(fd, data, at)
    os.ftruncate(fd, size)
    return fd


@settings(max_examples=60, deadline=None)
@given(pieces=st.dictionaries(st.integers(0, 5 * K), st.binary(min_size=1, max_size=300)), size=st.integers(1, 6 * K))
def test_a_copy_holds_the_same_and_the_same_content_has_one_digest_however_it_lies(
    pieces: dict[int, bytes], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("sparse")
    one = made(place / "one", pieces, size)
    other = made(place / "other", pieces, size, filled=True)
    copied = os.open(place / "copy", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    sparse.copy(one, copied)
    assert (place / "copy").read_bytes() == (place / "one").read_bytes() == (place / "other").read_bytes()
    assert len({sparse.digest(fd) for fd in (one, other, copied)}) == 1
    os.pwrite(one, bytes([(os.pread(one, 1, size // 2) or b"\0")[0] ^ 1]), size // 2)
    assert sparse.digest(one) != sparse.digest(other)
    for fd in (one, other, copied):
        os.close(fd)


def test_an_endless_file_is_refused_at_once_and_holes_cost_nothing(tmp_path: Path) -> None:
    endless = made(tmp_path / "endless", {}, sparse.MAX_SIZE + 1)
    with pytest.raises(OSError, match="large"):
        sparse.digest(endless)
    holes = made(tmp_path / "holes", {sparse.MAX_SIZE // 2: b"data"}, sparse.MAX_SIZE)
    copied = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    assert sparse.copy(holes, copied) == K
    assert os.fstat(copied).st_size == sparse.MAX_SIZE
    assert os.fstat(copied).st_blocks * 512 < 1 << 20
    assert os.pread(copied, 5, sparse.MAX_SIZE // 2) == b"data\0"
    for fd in (endless, holes, copied):
        os.close(fd)


def test_more_data_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "MAX_DATA", K)
    full = made(tmp_path / "full", {0: b"x" * (K + 1)}, K + 1)
    with pytest.raises(OSError, match="large"):
        list(sparse.data(full))
    os.close(full)
