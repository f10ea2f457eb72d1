"""The recording of a session as asciicast v2 (docs.asciinema.org/manual/asciicast/v2), one event per line.

Only what the filter let through is recorded, so that a replay is as safe as an attach; input never is, because people
type passwords. Every line is written at once, so a killed keeper loses nothing. A recording is a convenience: when it
reaches its size limit or the disk is full it ends with a marker and the session goes on.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

LIMIT = 32 << 20
_TAIL = 64 << 10


class Recorder:
    """Writes `path`; a recording that is already there (a resumed bottle) is continued, later in its own time."""

    def __init__(self, path: Path, rows: int, cols: int, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._started = time.monotonic()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        before = self._last_time()
        if before is None:
            self._restart(rows, cols)
        else:
            self._started -= before + 1.0
            self._event("m", "resumed")
            self.resized(rows, cols)

    def output(self, filtered: bytes) -> None:
        self._event("o", filtered.decode("utf-8", "replace"))

    def resized(self, rows: int, cols: int) -> None:
        self._event("r", f"{cols}x{rows}")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _restart(self, rows: int, cols: int) -> None:
        self._truncate(0)
        self._write({"version": 2, "width": cols, "height": rows, "timestamp": int(time.time()),
                     "env": {"TERM": "xterm-256color"}})  # fmt: skip

    def _event(self, kind: str, text: str) -> None:
        if self._fd < 0:
            return
        at = round(time.monotonic() - self._started, 6)
        if self._size + len(text) >= self._limit:
            self._write([at, "m", "recording ends here: size limit reached"])
            self.close()
            return
        self._write([at, kind, text])

    def _write(self, value: object) -> None:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError:
            written = 0
        if written == len(line):
            self._size += written
            return
        # A full disk: no half line stays behind, and no second try costs the session its time.
        self._truncate(self._size)
        self.close()

    def _truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
            self._size = size
        except OSError:
            self.close()

    def _last_time(self) -> float | None:
        """The time of the last whole event; a torn last line is cut off. None: there is nothing to continue."""
        tail = os.pread(self._fd, _TAIL, max(0, self._size - _TAIL))
        whole = tail[: tail.rfind(b"\n") + 1]
        self._truncate(self._size - len(tail) + len(whole))
        try:
            last = json.loads(whole.splitlines()[-1])
        except (IndexError, ValueError):
            return None
        if isinstance(last, dict) and last.get("version") == 2:
            return 0.0
        if isinstance(last, list) and last and isinstance(last[0], (int, float)):
            return float(last[0])
        return None
