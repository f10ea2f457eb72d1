"""Standard output that remembers why it took nothing more.

An output that cannot be delivered is no bug of ours, but an OSError does not say where it happened, and Python forgets what
it could not write in one piece: asked again, standard output may seem to be well. So the writing itself takes a note.
"""

from __future__ import annotations

import io
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Raw(io.FileIO):
    problem: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            self.problem = problem
            raise


class Delivery:
    """Puts itself under `sys.stdout`, unless somebody else has put something there already. What cannot be encoded is
    escaped: a terminal that knows no “–” is no reason to fail."""

    def __init__(self) -> None:
        self._raw: _Raw | None = None
        former = sys.__stdout__
        if former is None or sys.stdout is not former:
            return
        former.flush()
        self._raw = _Raw(1, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(self._raw), encoding=former.encoding, errors="backslashreplace",
                                      line_buffering=former.line_buffering)  # fmt: skip

    def problem(self) -> OSError | None:
        """Why something of the output was not delivered; None while all was, as far as it was written at all."""
        try:
            sys.stdout.flush()
        except OSError as problem:
            return problem
        return self._raw.problem if self._raw else None
