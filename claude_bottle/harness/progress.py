"""Showing a long installation: one line that rewrites itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self, TextIO

from claude_bottle.log import PREFIX

_SPARSE = 10.0


class ProgressLine:
    """A `Progress` that writes to a stream; a context manager, so that the line is finished whatever
    happens."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._open = False
        self._step = ""
        self._next = 0.0

    def __call__(self, text: str) -> None:
        if self._tty:
            self._stream.write(f"\r\x1b[2K{PREFIX}{text[:70]}")
            self._open = True
        else:
            step, now = text.split(":", 1)[0], time.monotonic()
            if step == self._step and now < self._next:
                return
            self._step, self._next = step, now + _SPARSE
            self._stream.write(f"{PREFIX}{text}\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
            self._open = False
