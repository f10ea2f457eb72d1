"""Recognise Ctrl-] in what a terminal sends, whatever keyboard protocol it is in.

Usually it is the byte 0x1D. A terminal that the operator's own surroundings switched to kitty's protocol or to
xterm's modifyOtherKeys sends a sequence instead (the filter never lets an agent switch them on). Within a bracketed
paste it is no key: a paste must not end the session and spill its rest into the operator's shell. Pure.
"""

from __future__ import annotations

import re

DETACH_BYTE = b"\x1d"
# Control alone, with any of the lock keys (64, 128); press or repeat, not release.
_MODIFIERS = rb"(?:5|69|133|197)"
_KEY = re.compile(
    rb"(?P<begin>\x1b\[200~)|(?P<end>\x1b\[201~)|\x1d"
    rb"|\x1b\[93(?::[0-9]{0,7}){0,2};" + _MODIFIERS + rb"(?::[12])?(?:;[0-9:]{0,8})?u"
    rb"|\x1b\[27;" + _MODIFIERS + rb";93~"
)
# The longest sequence above is shorter: so much of the past can still become one.
_CONTEXT = 40


class DetachKey:
    """One stream of input."""

    def __init__(self) -> None:
        self._past = b""
        self._pasting = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The part of `data` that belongs to the agent, and whether the key was pressed after it. What follows the key
        is dropped."""
        offset = len(self._past)
        whole = self._past + data
        after = 0
        for match in _KEY.finditer(whole):
            after = match.end()
            if match.lastgroup == "begin":
                self._pasting = True
            elif match.lastgroup == "end":
                self._pasting = False
            elif not self._pasting:
                return whole[offset : max(offset, match.start())], True
        self._past = whole[max(after, len(whole) - _CONTEXT) :]
        return data, False
