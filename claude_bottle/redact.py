"""What may be shown: the one sanitiser for foreign text, and the one remover of secrets.

`printable` makes any text safe for a terminal and honest for a reader: everything that would act on the
terminal, be invisible or reorder its neighbours becomes a visible escape. `Redactor` takes known secrets out
of text in the forms they usually leak in. Both are pure; text an operator sees outside an attach passes the
first, text that may hold secrets passes the second before the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from claude_bottle.patterns import regex

REDACTED = "[redacted]"
_CUT = "…"

# Characters that str.isprintable() lets through although nothing is seen of them (Unicode's
# Default_Ignorable letters, marks and variation selectors, and the blank braille cell). U+FE0F stays:
# ordinary emoji carry it.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef"
# Blanks of other widths (category Zs) become plain spaces.
_BLANKS = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"

# A control string (OSC, DCS, APC, PM, SOS) with its terminator, on one line. Its payload (a clipboard, an
# image, a title) is not text, so one mark stands for all of it. The payload ends at any control character,
# so matching stays linear, and an unterminated string hides nothing: only its introducer is escaped.
_STRING = r"(?P<intro>\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
_ODD = regex(
    rf"{_STRING}|(?P<blank>[{_BLANKS}])|(?P<unseen>[{_INVISIBLE}])"
    rf"|(?P<run>[^\x00-\x9f{_BLANKS}{_INVISIBLE}]+)|[\x00-\x1f\x7f-\x9f]"
)
# More marks on one letter than any script uses paint over the neighbouring lines.
_PILED_MARKS = 4


def printable(text: str, *, width: int | None = None, keep_newlines: bool = False) -> str:
    """`text` with nothing left that could act on a terminal or deceive a reader. Idempotent.

    C0, C1, DEL, bidi and format controls, zero-width and unassigned characters, lone surrogates become
    `\\x1b`, `\\u202e` and so on; a terminated control string becomes its escaped introducer and `…`. With
    `keep_newlines` line ends (CRLF as LF) and tabs stay, else they are escaped too. `width` bounds each line
    to that many terminal columns.
    """
    if keep_newlines:
        text = text.replace("\r\n", "\n")
    if not (text.isascii() and text.isprintable()):
        kept = "\n\t" if keep_newlines else ""
        text = _limit_piled_marks(_ODD.sub(lambda found: _visible(found, kept), text))
    if width is None:
        return text
    return "\n".join(_cut(line, width) for line in text.split("\n"))


def _visible(found: re.Match[str], kept: str) -> str:
    if intro := found["intro"]:
        return escape(intro[0]) + intro[1:] + _CUT
    if found["blank"]:
        return " "
    chars = found[0]
    if chars in kept:
        return chars
    if found["run"] is None:
        return escape(chars)
    # Ordinary text in another script comes in long runs, which are let through at once.
    return chars if chars.isprintable() else "".join(char if char.isprintable() else escape(char) for char in chars)


def escape(char: str) -> str:
    """One character as Python would write it in a string: `\\n`, `\\x1b`, `\\u202e`, `\\U000e0001`."""
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named:
        return named
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _limit_piled_marks(text: str) -> str:
    if text.isascii():
        return text
    from unicodedata import combining

    out: list[str] = []
    run = 0
    for char in text:
        run = run + 1 if combining(char) else 0
        out.append(char if run <= _PILED_MARKS else escape(char))
        if run > _PILED_MARKS:
            run = 0
    return "".join(out)


def columns(text: str) -> int:
    """Terminal columns that printable text takes; a tab counts as the 8 it may take."""
    if text.isascii():
        return len(text) + 7 * text.count("\t")
    from unicodedata import combining, east_asian_width

    def of(char: str) -> int:
        if char == "\t":
            return 8
        # U+FE0F may turn the sign before it into a two-column emoji: counted as one more column.
        return 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1

    return sum(map(of, text))


def _cut(line: str, width: int) -> str:
    if width <= 0:
        return ""
    # No character takes less than nothing or more than 8 columns, so a long line need not be measured to its
    # end.
    if len(line) <= width and columns(line) <= width:
        return line
    used, end = 0, 0
    for char in line:
        used += columns(char)
        if used > width - 1:
            break
        end += 1
    else:
        if used <= width:
            return line
    return line[:end] + _CUT


class Redactor:
    """Replaces known secrets in text by `[redacted]`: as they are, percent-encoded or JSON-escaped (any
    mixture of these), in hex, and in base64 (both alphabets, at each of the three offsets a longer text may
    put them at).

    A tripwire for our own output, not a wall: an agent that holds a secret can encode it in ways no list
    covers.
    """

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        values: set[str] = set()
        for secret in secrets:
            # A key of several lines is often logged line by line.
            values.update(part for part in (secret, secret.strip(), *_long_lines(secret)) if part.strip())
        forms = {form for value in values for form in _forms(value)}
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(ordered)) if ordered else None

    def text(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)

    def __repr__(self) -> str:
        return "Redactor([secret])"

    def __reduce__(self) -> str:
        raise TypeError("a Redactor holds secrets and is never pickled")


def _long_lines(secret: str) -> list[str]:
    lines = [line.strip() for line in secret.splitlines()]
    return [line for line in lines if len(line) >= 8] if len(lines) > 1 else []


def _forms(value: str) -> set[str]:
    """Regular expressions, one for each way `value` may be written."""
    raw = value.encode("utf-8", "surrogateescape")
    forms = {"".join(map(_one_char, value))}
    if len(raw) >= 4:
        forms.add(f"(?i:{raw.hex()})")
    if len(raw) >= 6:
        for fragment in _base64_fragments(raw):
            forms.add(re.escape(fragment))
            forms.add(re.escape(fragment.replace("+", "-").replace("/", "_")))
    return forms


def _one_char(char: str) -> str:
    """One character: itself, its UTF-8 bytes percent-encoded, or its JSON escape; a space also as the `+` of
    forms."""
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    units = char.encode("utf-16-be", "surrogatepass")
    json = "".join(rf"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    # Escapes first: the character itself may be how its own escape begins.
    ways = [f"(?i:{json})", f"(?i:{percent})"]
    if char in '"\\/':
        ways.append(re.escape("\\" + char))
    if named := {"\n": "\\n", "\r": "\\r", "\t": "\\t", " ": "+"}.get(char):
        ways.append(re.escape(named))
    return f"(?:{'|'.join([*ways, re.escape(char)])})"


def _base64_fragments(raw: bytes) -> list[str]:
    """What base64 shows of `raw` whatever stands before and after it: the sextets made of its bits alone
    (RFC 4648)."""
    from binascii import b2a_base64

    fragments = []
    for before in range(3):
        sextets = b2a_base64(bytes(before) + raw, newline=False).decode()
        first = -(-8 * before // 6)
        fragments.append(sextets[first : 8 * (before + len(raw)) // 6])
    return fragments
