"""Request targets and path patterns: one canonical path is matched, and exactly that is sent upstream.

A target that two servers could read as two paths is refused, not repaired: dot segments in any encoding,
empty segments, backslashes, controls, overlong or double encoding. What remains has one spelling. An encoded
slash (`%2F`, which npm and GitLab need) stays encoded, and a rule must then cover the path both as written
and with the slash taken literally. Patterns are matched without regular expressions, in time bounded by
pattern length times path length. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

MAX_TARGET = 16 * 1024
MAX_PATTERN = 512

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_VISIBLE = regex(rb"[!-\"$-\[\]-~]+")  # printable ASCII without blank, # and backslash
_BAD_ESCAPE = regex(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = regex(rb"%([0-9A-Fa-f]{2})")
_RESPELL = regex(rb"%([0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")  # escapes, and what is no pchar (RFC 3986 §3.3)
_CONTROL = regex(r"[\x00-\x1f\x7f-\x9f]")
_TWICE = regex(r"%25[0-9A-Fa-f]{2}")


class BadTarget(ValueError):
    """Not a request target (or path pattern) that we accept. `reason` says why, in words, without repeating
    the input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A canonical request target: `path` is what rules match, `query` is kept as it came (None: there was no
    `?`), `wire` is what goes upstream and equals path, `?` and query."""

    path: str
    query: str | None
    wire: bytes


def canonical_target(raw: bytes) -> Target:
    """The canonical form of an origin-form target (`/path?query`, RFC 9112 §3.2.1). Idempotent on `wire`.
    BadTarget else."""
    if len(raw) > MAX_TARGET:
        raise BadTarget(f"the target is longer than {MAX_TARGET} bytes")
    if not raw.startswith(b"/"):
        raise BadTarget("the target does not begin with a slash")
    if not _VISIBLE.fullmatch(raw):
        raise BadTarget("the target contains a blank, control, backslash, # or non-ASCII byte")
    path_bytes, mark, query_bytes = raw.partition(b"?")
    path = _canonical_path(path_bytes)
    query = query_bytes.decode("ascii") if mark else None
    return Target(path, query, path.encode("ascii") + mark + query_bytes)


def is_canonical(path: str) -> bool:
    """Is this a path (without query) as `canonical_target` gives it?"""
    try:
        return canonical_target(path.encode("ascii")).path == path
    except ValueError:
        return False


def _canonical_path(raw: bytes) -> str:
    if _BAD_ESCAPE.search(raw):
        raise BadTarget("a percent sign is not followed by two hexadecimal digits")
    path = _RESPELL.sub(_one_spelling, raw).decode("ascii")
    if _TWICE.search(path):
        raise BadTarget("the path is percent-encoded twice")
    _check_meaning(path)
    return path


def _one_spelling(found: re.Match[bytes]) -> bytes:
    """RFC 3986 §6.2.2: upper-case escapes, no escape where none is needed, an escape where one is."""
    byte = int(found[1], 16) if found[1] else found[0][0]
    return bytes([byte]) if byte in _UNRESERVED else b"%%%02X" % byte


def _check_meaning(path: str) -> None:
    """Refuse what a server could take for another path once it decodes, normalises or splits it."""
    decoded = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), path.encode("ascii"))
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BadTarget("the path is not valid UTF-8 once decoded") from None
    if _CONTROL.search(text):
        raise BadTarget("the path contains an encoded control character")
    # Some servers fold compatibility characters: a fullwidth slash or dot must not become a plain one behind
    # our back.
    for reading in _foldings(text):
        if "\\" in reading:
            raise BadTarget("the path contains a backslash")
        if reading.count("/") != text.count("/"):
            raise BadTarget("the path contains a character that some servers take for a slash")
        segments = reading.split("/")
        if "" in segments[1:-1]:
            raise BadTarget("the path contains an empty segment (two slashes in a row)")
        # Servlet containers drop `;parameters` before they resolve dots: `..;x` climbs there.
        if any(segment.partition(";")[0] in (".", "..") or segment.startswith(";") for segment in segments):
            raise BadTarget("the path contains a dot segment")


def _foldings(text: str) -> set[str]:
    if text.isascii():
        return {text}
    from unicodedata import normalize

    return {text, normalize("NFKC", text)}


def readings(path: str) -> tuple[str, ...]:
    """The ways a server may split a canonical path: as written, and with its encoded slashes taken for
    slashes."""
    return (path, path.replace("%2F", "/")) if "%2F" in path else (path,)


@dataclass(frozen=True)
class PathPattern:
    """A compiled pattern; call it with one reading of a canonical path.

    `*` matches within a segment (alone, at least one character); `**`, as a whole segment, matches any
    number of segments, at the end at least one, which may be empty: `/a/**` covers `/a/` and `/a/b/c`, not
    `/a`. `literal` counts the characters that are not wildcards: the more, the more specific. `everything`
    says that the pattern confines nothing.
    """

    text: str
    segments: tuple[str, ...]
    literal: int
    everything: bool

    def __call__(self, path: str) -> bool:
        parts = path.split("/")[1:]
        blocks = _blocks(self.segments)
        head = blocks[0]
        if len(parts) < len(head) or not _all_match(head, parts, 0):
            return False
        if len(blocks) == 1:
            return len(parts) == len(head)
        tail = blocks[-1]
        # A final `**` needs something to stand for.
        end = len(parts) - (len(tail) or 1)
        at = _find_blocks(blocks[1:-1], parts, len(head), end if tail else len(parts))
        return at is not None and at <= end and (not tail or _all_match(tail, parts, end))


def compile_pattern(glob: str) -> PathPattern:
    """Compile a manifest's path pattern. BadTarget if it is none: it must begin with `/` and be canonical
    itself."""
    if len(glob) > MAX_PATTERN:
        raise BadTarget(f"the pattern is longer than {MAX_PATTERN} characters")
    if "?" in glob:
        raise BadTarget("a pattern is for the path only; a query (?) cannot be matched")
    try:
        text = canonical_target(glob.encode("ascii")).path
    except UnicodeError:
        raise BadTarget("the pattern is not ASCII; write other characters percent-encoded") from None
    segments = tuple(text.split("/")[1:])
    if any("**" in segment and segment != "**" for segment in segments):
        raise BadTarget("** must stand alone between slashes; * matches within a segment")
    return PathPattern(
        text=text,
        segments=segments,
        literal=len(text.replace("*", "")),
        everything="**" in segments and set(segments) <= {"*", "**"},
    )


def covers_path(old: str, new: str) -> bool:
    """Whether every path the pattern `new` matches is matched by `old`. May say no where the answer is yes.
    BadTarget when one is no pattern.

    Dynamic programming over segments; as in `PathPattern`, `**` may stand for none, but for one at least at
    the end.
    """
    wanted, given = old.split("/")[1:], new.split("/")[1:]
    row = [True] + [False] * len(given)
    for place, part in enumerate(wanted, 1):
        below = [row[0] and part == "**" and place < len(wanted)]
        for index, segment in enumerate(given, 1):
            if part == "**":
                below.append((row[index] and place < len(wanted)) or row[index - 1] or below[index - 1])
            else:
                below.append(row[index - 1] and segment != "**" and _covers_segment(part, segment))
        row = below
    return row[-1]


def _covers_segment(part: str, segment: str) -> bool:
    # A star in the new pattern is here a character like any other, which only a star of the old one can
    # match.
    return part == segment or compile_pattern("/" + part)("/" + segment)


def _blocks(segments: tuple[str, ...]) -> list[list[str]]:
    """The runs of segments between the `**`s: one more than there are `**`s."""
    blocks: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            blocks.append([])
        else:
            blocks[-1].append(segment)
    return blocks


def _find_blocks(blocks: list[list[str]], parts: list[str], start: int, end: int) -> int | None:
    """Place each block at its leftmost fit (which is always best); where the last one ended, or None."""
    for block in blocks:
        fits: Callable[[int], bool] = partial(_all_match, block, parts)
        found = next((at for at in range(start, end - len(block) + 1) if fits(at)), None)
        if found is None:
            return None
        start = found + len(block)
    return start


def _all_match(block: list[str], parts: list[str], start: int) -> bool:
    return all(_segment_matches(glob, parts[start + index]) for index, glob in enumerate(block))


def _segment_matches(glob: str, segment: str) -> bool:
    if "*" not in glob:
        return glob == segment
    if glob == "*":
        return segment != ""
    first, *middle, last = glob.split("*")
    if not segment.startswith(first):
        return False
    at, end = len(first), len(segment) - len(last)
    for piece in middle:
        found = segment.find(piece, at, max(at, end))
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end and segment.endswith(last)
