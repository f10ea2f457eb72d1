"""Which terminal modes an agent may switch on, and how to switch them all off again.

The filter passes no other mode, so undoing these leaves the operator's terminal as it was found. Keyboard protocols
(kitty, modifyOtherKeys) are not among them: under one of them Ctrl-] would no longer be the byte we wait for, and
popping what was never pushed would take the operator's own shell's setting away. Pure.
"""

from __future__ import annotations

from claude_bottle.patterns import regex

# Cursor keys, reverse video, origin, wrap, cursor shown, alternate screens, keypad, mouse, focus, paste, synchronized.
PASSED = frozenset((1, 5, 6, 7, 9, 25, 47, 66, 1000, 1002, 1003, 1004, 1006, 1015, 1016, 1047, 1048, 1049, 2004, 2026))
_ON_BY_DEFAULT = (7, 25)
_ALTERNATE = (47, 1047, 1049)
_SET = regex(rb"\x1b\[\?([0-9;]+)([hl])|\x1bc")
# Mouse and focus reports, paste brackets, synchronized output, application cursor keys, reverse video.
_INPUT_OFF = b"\x1b[?2026;2004;1016;1015;1006;1004;1003;1002;1000;66;9;5;1l"


class Modes:
    """The private modes that output switched on. `note` it in pieces of whole sequences, as the filter returns them."""

    def __init__(self) -> None:
        self._changed: dict[int, bool] = {}

    def note(self, filtered: bytes) -> None:
        for match in _SET.finditer(filtered):
            if match.group(1) is None:
                self._changed.clear()  # RIS: everything is at its default again
                continue
            for mode in match.group(1).split(b";"):
                self._changed[int(mode or b"0")] = match.group(2) == b"h"

    def restoring(self) -> bytes:
        """The sequence that brings a fresh terminal into these modes."""
        return b"".join(b"\x1b[?%d%c" % (mode, ord("h" if on else "l")) for mode, on in self._changed.items()
                        if on != (mode in _ON_BY_DEFAULT) and mode != 1048)  # fmt: skip

    def resetting(self) -> bytes:
        """The sequence that brings the terminal back into the state an operator's shell expects."""
        out = [b"\x1b\\\x0f", _INPUT_OFF]
        if self._changed.get(6):
            out.append(b"\x1b[?6l")
        out.extend(b"\x1b[?%dl" % mode for mode in _ALTERNATE if self._changed.get(mode))
        out.append(_PLAIN)
        return b"".join(out)


# Margins off (which would move the cursor, hence save and restore), keypad, insert and wrap modes, character sets,
# colours, cursor shown in its own shape.
_PLAIN = b"\x1b7\x1b[r\x1b8\x1b>\x1b[4l\x1b[?7h\x1b(B\x1b)B\x1b[m\x1b[?25h\x1b[0 q"


def recovering() -> bytes:
    """As `resetting` for a terminal of unknown state. ?47l leaves any alternate screen and, unlike ?1049l, does
    nothing where there is none; ?6l takes the cursor to the top, over what stands there, so it goes on below all of it."""
    return b"\x1b\\\x0f" + _INPUT_OFF + b"\x1b[?47l\x1b[r\x1b[?6l\x1b[999;1H\r\n" + _PLAIN
