from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.keeper.recorder import Recorder


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_recording_is_asciicast_version_2(tmp_path: Path) -> None:
    path = tmp_path / "recording.cast"
    recorder = Recorder(path, 24, 80)
    recorder.output("✓ done\r\n".encode())
    recorder.resized(30, 100)
    header, output, resize = lines(path)
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert output[1:] == ["o", "✓ done\r\n"]
    assert resize[1:] == ["r", "100x30"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_event_is_on_disk_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "c", 24, 80)
    recorder.output(b"x")
    assert len(lines(tmp_path / "c")) == 2


def test_a_resumed_session_goes_on_in_the_same_recording(tmp_path: Path) -> None:
    path = tmp_path / "c"
    first = Recorder(path, 24, 80)
    first.output(b"one")
    first.close()
    with path.open("ab") as torn:
        torn.write(b'[1.0, "o", "half')
    again = Recorder(path, 40, 90)
    again.output(b"two")
    events = lines(path)[1:]
    assert [event[1] for event in events] == ["o", "m", "r", "o"]
    times = [event[0] for event in events]
    assert times == sorted(times)


def test_a_recording_ends_at_its_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "c"
    recorder = Recorder(path, 24, 80, limit=2000)
    for _ in range(100):
        recorder.output(b"y" * 100)
    assert path.stat().st_size < 2400
    assert lines(path)[-1][1] == "m"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    os.symlink(tmp_path / "target", tmp_path / "c")
    with pytest.raises(OSError):
        Recorder(tmp_path / "c", 24, 80)
    assert (tmp_path / "target").read_text() == ""
