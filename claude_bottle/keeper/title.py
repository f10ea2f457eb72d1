"""The title of the operator's own terminal while it is lent to a bottle: set by us alone, and given back.

Written by the CLI between whole sequences of the agent's filtered output, which can hold no title. The terminal's own title
is saved on its stack before ours and restored from it (xterm ctlseqs, CSI 22;2t and 23;2t). Pure.
"""

from __future__ import annotations

from claude_bottle.redact import printable

_SAVE, _RESTORE, _BELL = b"\x1b[22;2t", b"\x1b[23;2t", b"\x07"
_WIDTH = 120


class Title:
    """What the title is now, for one loan of one terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, title: object, bell: object = False) -> bytes:
        """What to write for this title; "" gives the terminal its own back. Anything but text counts as that."""
        wanted = printable(title, width=_WIDTH) if isinstance(title, str) else ""
        ring = _BELL if bell is True else b""
        if wanted == self._shown:
            return ring
        before, self._shown = self._shown, wanted
        if not wanted:
            return _RESTORE + ring
        return (b"" if before else _SAVE) + b"\x1b]2;" + wanted.encode() + b"\x1b\\" + ring

    def restoring(self) -> bytes:
        """What gives the terminal its own title back."""
        return self.show("")
