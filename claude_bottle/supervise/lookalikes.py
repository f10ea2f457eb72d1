"""Host names that a person may take for others: scripts that are mixed, letters that look alike, known names within.

A tripwire for the one who reads, never a decision: only the exact name counts. What one label may mix follows Unicode
UTS 39 §5.2 ("highly restrictive"). Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.hosts import FAMOUS

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_SINGLE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "3": "e", "8": "b", "-": None})
# Cyrillic and Greek letters that are drawn like Latin ones (a part of Unicode's confusables.txt).
_DRAWN = str.maketrans(dict(zip("авекмнорстухіјѕԁһьӏοανιρτυω", "abekmhopctyxijsdhbloavlptuw", strict=True)))
_CJK = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "LATIN"})
_SHORTEST = 5


def shown(label: str) -> str:
    """What a label stands for: an xn-- one decoded, another as it is."""
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (ValueError, IndexError, OverflowError):
        return label


def mixed_script(host: str) -> bool:
    """Whether a label mixes scripts that no writing system mixes."""
    return any(len(found := _scripts(shown(label))) > 1 and not found <= _CJK for label in host.split("."))


def looks_like(host: str, known: Iterable[str]) -> str:
    """The name among `known` (and the famous ones) that `host` may be taken for, "" for none."""
    for other in dict.fromkeys((*known, *FAMOUS)):
        if host == other or host.endswith(f".{other}"):
            return ""  # it is it, or a part of it
    for other in dict.fromkeys((*known, *FAMOUS)):
        if len(other) >= _SHORTEST and _resembles(host, other):
            return other
    return ""


def _resembles(host: str, other: str) -> bool:
    if f".{other}." in f".{host}." or f".{other.replace('.', '-')}" in f".{host}":
        return True  # github.com.evil.example
    tail = ".".join(host.split(".")[-1 - other.count(".") :])
    skeleton = _skeleton(other)
    return _skeleton(tail) == skeleton or _one_off(tail, other)


def _skeleton(host: str) -> str:
    text = ".".join(shown(label) for label in host.split(".")).translate(_DRAWN)
    for pair, single in _PAIRS:
        text = text.replace(pair, single)
    return text.translate(_SINGLE)


def _one_off(one: str, other: str) -> bool:
    """Whether one letter was changed, left out, added or swapped with its neighbour."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, rest_of_other = one[at:], other[at:]
    swapped = rest[:2] == rest_of_other[:2][::-1] and rest[2:] == rest_of_other[2:]
    return swapped or rest[1:] == rest_of_other[1:] or rest[1:] == rest_of_other or rest == rest_of_other[1:]


def _scripts(text: str) -> set[str]:
    """The scripts of its letters, by the first word of their Unicode names."""
    if text.isascii():
        return set()
    from unicodedata import name

    return {name(char, "UNKNOWN").split(" ")[0] for char in text if char.isalpha()}
