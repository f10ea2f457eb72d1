"""`.dockerignore`: which files of a directory do not go into a build or a copied workspace.

The rules are docker's own: one pattern a line, `*` and `?` within a segment, `**` across, character classes, a later line
wins over an earlier one, `!` takes back, and a pattern that matches a directory matches all below it. Pure but for
`walk`, which looks at names and kinds only and follows no link.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.patterns import regex
from claude_bottle.redact import printable

MAX_BYTES = 1 << 20
_COMMENT, _EXCEPTION = "#", "!"
_WILD = frozenset("*?[\\")
# What Go's filepath.Match takes for a pattern: a class holds at least one character, and `-` and `]` only as \- and \].
_CHAR = r"(?:\\.|[^\\\]-])"
_PATTERN = regex(rf"(?:\\.|\[\^?(?:{_CHAR}(?:-{_CHAR})?)+\]|[^\\\[])*", re.DOTALL)


class Ignored:
    """The rules of one file. `Ignored(())` ignores nothing."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]
        self._taken_back = any(not rule.ignores for rule in self._rules)

    def ignores(self, path: str) -> bool:
        """Whether a path (relative, `/` between segments) stays out."""
        verdict, text = False, Text(path)
        for rule in self._rules:
            if verdict != rule.ignores and rule.matches(text):
                verdict = rule.ignores
        return verdict

    def prunes(self, path: str) -> bool:
        """Whether nothing below an ignored directory can be wanted, so that it need not be read."""
        if not self.ignores(path):
            return False
        return not self._taken_back or not any(_may_reach(rule.pattern, path) for rule in self._rules if not rule.ignores)


def read(directory: str) -> Ignored:
    """The rules of `directory`/.dockerignore; none where there is no such file. BottleError for one that cannot be read or
    understood whole: it may say what must not be copied."""
    try:
        # Without waiting: in its place may be a fifo.
        with open(os.path.join(directory, ".dockerignore"), "rb", opener=_unblocked) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("not a plain file")
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
        return Ignored(data.decode("utf-8-sig").split("\n"))
    except FileNotFoundError:
        return Ignored(())
    except (OSError, ValueError) as problem:
        raise BottleError(f"cannot use the .dockerignore of {printable(directory)}", why=str(problem)) from problem


def _unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def walk(directory: str, ignored: Ignored) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(relative path, entry) of everything that stays in, a directory before its content, sorted; links as such."""
    stack = [""]
    while stack:
        below = stack.pop()
        with os.scandir(os.path.join(directory, below)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        deeper = []
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            if not ignored.ignores(path):
                yield path, entry
            if is_directory and not ignored.prunes(path):
                deeper.append(path)
        stack.extend(reversed(deeper))


class Text:
    """A path as sets of positions, each an integer's bits, so that a pattern is matched at all of them at once: linear
    in the length of either, whatever the pattern."""

    def __init__(self, path: str) -> None:
        self.path, self.end = path, 1 << len(path)
        self._where: dict[str, int] = {}

    def where(self, matches: str, test: Callable[[str], object]) -> int:
        """The positions of the characters that pass `test`, which is known as `matches`."""
        if matches not in self._where:
            self._where[matches] = sum(1 << index for index, char in enumerate(self.path) if test(char))
        return self._where[matches]


class Rule(NamedTuple):
    """One line: whether it ignores or takes back, its pattern, and what the pattern is made of."""

    ignores: bool
    pattern: str
    parts: tuple[str, ...]

    def matches(self, text: Text) -> bool:
        """Whether the pattern matches the whole path, or a directory that leads to it."""
        if not self.parts:
            return text.path == self.pattern or text.path.startswith(f"{self.pattern}/")
        here, slashes = 1, text.where("/", "/".__eq__)
        for part in self.parts:
            here = _step(here, part, text, slashes)
            if not here:
                return False
        return bool(here & (slashes | text.end))


def _step(here: int, part: str, text: Text, slashes: int) -> int:
    """The positions reached by one part of a pattern from `here`."""
    within, at_least = (text.end - 1) & ~slashes, -(here & -here)
    if part == "**/":
        return here | (slashes & at_least) << 1
    if part == "**":
        return (2 * text.end - 1) & at_least
    if part == "*":
        # Adding a start to the ones of its segment carries up to the segment's end.
        return here | ((here & within) + within) ^ within
    if part == "?":
        return (here & within) << 1
    if len(part) == 1:
        return (here & text.where(part, part.__eq__)) << 1
    return (here & within & text.where(part, re.compile(part).fullmatch)) << 1


def _rule(line: str) -> Rule | None:
    if line.startswith(_COMMENT):
        return None
    text = line.strip()
    ignores = not text.startswith(_EXCEPTION)
    text = text if ignores else text[1:].strip()
    text = os.path.normpath(text).lstrip("/").strip() if text else ""
    if ignores and text in ("", "."):
        return None
    if not text or not _PATTERN.fullmatch(text):
        raise BottleError(f"{printable(line)!r} is no pattern for .dockerignore",
                          why="a [ or \\ that nothing ends, or a ! of nothing")  # fmt: skip
    return Rule(ignores, text, tuple(_parts(text)) if set(text) & _WILD else ())


def _parts(pattern: str) -> Iterator[str]:
    """`**/`, `**`, `*`, `?`, a single character, or a class as an expression."""
    index = 0
    while index < len(pattern):
        rest = pattern[index:] if index else pattern
        if rest.startswith("**"):
            index += 3 if rest.startswith("**/") else 2
            # `**x` counts as `**/x` but where the pattern is nothing else than an ending, or ends here.
            plain = rest == "**" or (rest is pattern and not set(rest[2:]) & _WILD and rest[2] != "/")
            yield "**" if plain else "**/"
            continue
        index += 1
        if rest[0] == "\\" and len(rest) > 1:
            index += 1
            # As a class of one: a bare `*` would be taken for the wildcard.
            yield f"[{re.escape(rest[1])}]"
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            index += end
            inside = re.sub(r"([\\\[&~|])", r"\\\1", rest[1:end])
            try:
                re.compile(f"[{inside}]")
            except re.error as wrong:
                raise BottleError(f"{printable(pattern)!r} is no pattern for .dockerignore", why=str(wrong)) from wrong
            yield f"[{inside}]"
        else:
            yield rest[0]


def _may_reach(pattern: str, directory: str) -> bool:
    """Whether an exception could take back something below `directory`. Yes where it is not plainly elsewhere."""
    for wanted, there in zip(pattern.split("/"), directory.split("/"), strict=False):
        if wanted == "**" or set(wanted) & _WILD:
            return True
        if wanted != there:
            return False
    return True
