"""What of an agent's terminal output may reach the operator's terminal (threats §6: cases 102-104, 107).

A state machine over bytes that passes nothing it has not recognised: valid UTF-8 text, a few control characters, and
whole sequences from an allowlist, rebuilt in their 7-bit form. Everything whose answer would be typed back (device,
status, mode, colour and clipboard queries), window operations, titles, images, file transfer and keyboard protocols is
removed whole. The terminal therefore never holds a half sequence, and how the input was cut never matters.
"""

from __future__ import annotations

import re

from claude_bottle.keeper.modes import PASSED
from claude_bottle.patterns import regex

# A string that never ends would blank the session for good: after this many bytes we take it for text again.
STRING_LIMIT = 1 << 20
# Longer sequences than these have no use we know of.
CSI_LIMIT = 128
OSC_KEPT = 2048

_ESC, _CAN, _SUB, _BEL, _DEL = 0x1B, 0x18, 0x1A, 0x07, 0x7F
_GROUND, _UTF8, _ESCAPE, _CSI, _CSI_IGNORE, _STRING = range(6)

# BEL BS HT LF VT FF CR SO SI, printable ASCII, and whole UTF-8 characters but U+0080-U+009F, which are C1 controls.
# Left out of C0 on purpose: ENQ asks for the answerback, XON/XOFF stop the line.
_TEXT = regex(
    rb"(?:[\x07-\x0f\x20-\x7e]+|\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}"
    rb"|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})+"
)
_UTF8_PREFIX = regex(
    rb"[\xc2-\xf4]|\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f]|\xf0[\x90-\xbf][\x80-\xbf]?"
    rb"|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?"
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_C0_PASSED = frozenset(range(0x07, 0x10))

# ESC finals: save and restore cursor, index, next line, tab stop, reverse index, keypad, full reset.
_ESCAPES = frozenset(b"78DEHM=>c")
# With intermediates: the character sets of line drawing, and double-size lines.
_ESCAPES_LONG = regex(rb"[()*+][0AB12]|#[34568]")
# C1 controls and the 7-bit sequences they stand for.
_C1_STRINGS = {0x90: ord("P"), 0x98: ord("X"), 0x9D: ord("]"), 0x9E: ord("^"), 0x9F: ord("_")}
_C1_PASSED = {0x84: ord("D"), 0x85: ord("E"), 0x88: ord("H"), 0x8D: ord("M")}
_STRING_STARTS = frozenset(_C1_STRINGS.values())
_ST = 0x9C

_NUMBERS = regex(rb"(?:[0-9]{0,5}[;:])*[0-9]{0,5}")
_CSI_PLAIN = frozenset(b"@ABCDEFGHIJKLMPSXZ`abdefgrm")
_LINK = regex(rb"8;[A-Za-z0-9=:._-]*;(?:(?:https?://|mailto:)[\x21-\x7e]+)?")


class TerminalFilter:
    """One stream of output. `feed` it any pieces; what it returns is always whole characters and whole sequences."""

    def __init__(self) -> None:
        self._state = _GROUND
        self._held = bytearray()
        self._string_kind = 0
        self._string_length = 0
        self._string_need = 0  # UTF-8 continuation bytes still to come: 0x9C among them is no terminator
        self._string_escape = False

    def feed(self, data: bytes) -> bytes:
        """What of `data` (with what was held back before) may be shown now."""
        out: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._state == _GROUND:
                run = _TEXT.match(data, at)
                if run:
                    out.append(run.group())
                    at = run.end()
                    continue
                self._ground(data[at], out)
                at += 1
            elif _STEPS[self._state](self, data[at], out):
                at += 1
        return b"".join(out)

    def _ground(self, byte: int, out: list[bytes]) -> None:
        """A byte that starts no whole character here."""
        if byte == _ESC:
            self._enter(_ESCAPE)
        elif 0x80 <= byte <= 0x9F:
            self._c1(byte, out)
        elif 0xC2 <= byte <= 0xF4:
            self._enter(_UTF8)
            self._held.append(byte)
        elif byte > 0x9F:
            out.append(_REPLACEMENT)

    def _utf8(self, byte: int, out: list[bytes]) -> bool:
        """A character cut by the end of a piece. False: `byte` is not part of it and comes again."""
        whole = bytes((*self._held, byte))
        if _UTF8_PREFIX.fullmatch(whole):
            self._held.append(byte)
            return True
        self._enter(_GROUND)
        if _TEXT.fullmatch(whole):
            out.append(whole)
        elif len(whole) == 2 and whole[0] == 0xC2 and 0x80 <= byte <= 0x9F:
            self._c1(byte, out)
        else:
            out.append(_REPLACEMENT)
            return False
        return True

    def _c1(self, byte: int, out: list[bytes]) -> None:
        if byte == 0x9B:
            self._enter(_CSI)
        elif byte in _C1_STRINGS:
            self._enter_string(_C1_STRINGS[byte])
        elif byte in _C1_PASSED:
            out.append(bytes((_ESC, _C1_PASSED[byte])))

    def _control_inside(self, byte: int, out: list[bytes]) -> bool:
        """A control character within a sequence acts as if it stood before it, as in a terminal. False: `byte` (not
        ASCII) breaks the sequence off and comes again."""
        if byte >= 0x80:
            self._enter(_GROUND)
            return False
        if byte == _ESC:
            self._enter(_ESCAPE)
        elif byte in (_CAN, _SUB):
            self._enter(_GROUND)
        elif byte in _C0_PASSED:
            out.append(bytes((byte,)))
        return True

    def _escape(self, byte: int, out: list[bytes]) -> bool:
        if byte < 0x20 or byte >= _DEL:
            return self._control_inside(byte, out)
        if byte < 0x30:
            if len(self._held) < 4:
                self._held.append(byte)
            return True
        held = bytes(self._held)
        self._enter(_GROUND)
        if held:
            if _ESCAPES_LONG.fullmatch(held + bytes((byte,))):
                out.append(b"\x1b" + held + bytes((byte,)))
        elif byte == ord("["):
            self._enter(_CSI)
        elif byte in _STRING_STARTS:
            self._enter_string(byte)
        elif byte in _ESCAPES:
            out.append(bytes((_ESC, byte)))
        return True

    def _csi(self, byte: int, out: list[bytes]) -> bool:
        if byte < 0x20 or byte >= _DEL:
            return self._control_inside(byte, out)
        if byte < 0x40:
            self._held.append(byte)
            if len(self._held) > CSI_LIMIT:
                self._enter(_CSI_IGNORE)
            return True
        passed = csi_passed(bytes(self._held), byte)
        self._enter(_GROUND)
        if passed is not None:
            out.append(b"\x1b[" + passed)
        return True

    def _csi_ignore(self, byte: int, out: list[bytes]) -> bool:
        if byte < 0x20 or byte >= _DEL:
            return self._control_inside(byte, out)
        if byte >= 0x40:
            self._enter(_GROUND)
        return True

    def _string(self, byte: int, out: list[bytes]) -> bool:
        """Inside OSC, DCS, SOS, PM or APC: everything is swallowed; a harmless hyperlink comes out at the end."""
        if self._string_escape:
            if byte == ord("\\"):
                self._end_string(out)
                return True
            self._enter(_ESCAPE)  # ESC and anything else: the string is broken off, a new sequence begins
            return False
        self._string_length += 1
        if byte == _ESC:
            self._string_escape = True
        elif byte in (_CAN, _SUB) or self._string_length > STRING_LIMIT:
            self._enter(_GROUND)
        elif (byte == _BEL and self._string_kind == ord("]")) or (byte == _ST and self._ends_at_c1()):
            self._end_string(out)
        else:
            self._note(byte)
        return True

    def _ends_at_c1(self) -> bool:
        return self._string_need == 0 or (self._string_need == 1 and self._held[-1:] == b"\xc2")

    def _note(self, byte: int) -> None:
        if 0x80 <= byte <= 0xBF:
            self._string_need = max(0, self._string_need - 1)
        else:
            self._string_need = 0 if byte < 0xC2 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
        if len(self._held) >= OSC_KEPT:
            self._held[:] = b"\xff"  # too long to be passed on, whatever it is
        self._held.append(byte)

    def _end_string(self, out: list[bytes]) -> None:
        body = bytes(self._held).removesuffix(b"\xc2")
        if self._string_kind == ord("]") and _LINK.fullmatch(body):
            out.append(b"\x1b]" + body + b"\x1b\\")
        self._enter(_GROUND)

    def _enter(self, state: int) -> None:
        self._state = state
        self._held.clear()

    def _enter_string(self, kind: int) -> None:
        self._enter(_STRING)
        self._string_kind, self._string_length, self._string_need, self._string_escape = kind, 0, 0, False


_STEPS = {
    _UTF8: TerminalFilter._utf8,
    _ESCAPE: TerminalFilter._escape,
    _CSI: TerminalFilter._csi,
    _CSI_IGNORE: TerminalFilter._csi_ignore,
    _STRING: TerminalFilter._string,
}


def csi_passed(body: bytes, final: int) -> bytes | None:
    """What of a control sequence (ECMA-48 §5.4; xterm ctlseqs) may pass, without its introducer; None for nothing.

    Cursor, erase, scroll, tab, SGR and margins pass; set/reset mode only with the modes we can undo; cursor style and
    soft reset pass. Device attributes, status reports, window operations, keyboard protocols, rectangles, media copy
    and everything unknown do not.
    """
    end = bytes((final,))
    if final in b"hl":
        return _modes_passed(body, end)
    if final == ord("q") and re.fullmatch(rb"[0-6]? ", body):
        return body + end
    if final == ord("p") and body == b"!":
        return body + end
    if final in b"su":
        return end if body == b"" else None  # with parameters: margins, keyboard protocol
    if final == ord("T"):
        return body + end if re.fullmatch(rb"[0-9]{0,5}", body) else None  # with five: highlight tracking
    if final in _CSI_PLAIN and _NUMBERS.fullmatch(body):
        return body + end
    return None


def _modes_passed(body: bytes, end: bytes) -> bytes | None:
    if body == b"4":  # insert mode
        return body + end
    if not re.fullmatch(rb"\?[0-9]{1,5}(?:;[0-9]{1,5})*", body):
        return None
    kept = [mode for mode in body[1:].split(b";") if int(mode) in PASSED]
    return b"?" + b";".join(kept) + end if kept else None
