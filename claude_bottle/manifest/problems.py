"""What is wrong with a manifest: collected while it is read, told all at once, each with its place and its
remedy.

A `Report` belongs to one file. Checks add problems by path in the document; lines and columns are looked up
only when there is something to tell, so a good manifest never pays for them. Whatever comes from the file is
shown sanitised.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.state.positions import Path


MOST = 100


@dataclass(frozen=True)
class Problem:
    """One problem, ready to be shown. `line` and `column` count from 1; both are 0 where there is no
    place."""

    file: str
    line: int
    column: int
    path: str
    message: str
    write: str = ""

    def to_dict(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "write": self.write,
        }

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{place}: {self.path}: " if self.path else f"{place}: "
        return where + self.message + (f" → {self.write}" if self.write else "")


class ManifestProblems(BottleError):
    """A manifest that cannot be used, with everything that is wrong with it (`problems`)."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        files = list(dict.fromkeys(problem.file for problem in problems))
        super().__init__(
            f"{', '.join(files)} has {count}",
            why="\n".join(map(str, problems)),
            do="correct it, then: claude-bottle manifest check",
        )


class Enough(Exception):
    """A report is full. A file with so many problems is a bad joke or an attack: looking on would cost minutes."""


class Report:
    """Collects problems and warnings of one manifest file, at most `MOST` problems: the next one raises `Enough`."""

    def __init__(self, file: FilePath, text: str = "") -> None:
        self.file, self.text = file, text
        self.warnings: list[str] = []
        self._found: list[tuple[Path, str, str, bool, int | None]] = []

    def problem(self, path: Path, message: str, write: str = "", *, key: bool = False, offset: int | None = None) -> None:
        """Note a problem with the value at `path` (with `key`: with its name; with `offset`: exactly there).
        `write` says what to write instead."""
        if len(self._found) == MOST:
            raise Enough
        self._found.append((path, message, write, key, offset))

    def failure(self, path: Path, error: Exception) -> None:
        """Note what the module that enforces a value says about it."""
        if isinstance(error, BottleError):
            self.problem(path, error.what + (f" ({error.why})" if error.why else ""), error.do)
        else:
            self.problem(path, str(error))

    def warn(self, path: Path, message: str) -> None:
        self.warnings.append(f"{self.file.name}: {dotted(path)}: {printable(message, width=400)}")

    def __bool__(self) -> bool:
        return bool(self._found)

    def problems(self) -> list[Problem]:
        """Everything found, in order of place."""
        if not self._found:
            return []
        from claude_bottle.state.positions import scan

        found = scan(self.text)
        made = []
        for path, message, write, key, offset in dict.fromkeys(self._found):
            line, column = found.line_column(offset) if offset is not None else found.place(path, key=key)
            made.append(
                Problem(
                    printable(str(self.file)),
                    line,
                    column,
                    dotted(path),
                    printable(message, width=400),
                    printable(write, width=400),
                )
            )
        made.sort(key=lambda problem: (problem.line, problem.column))
        if len(self._found) == MOST:
            made.append(Problem(printable(str(self.file)), 0, 0, "", "and perhaps more: these are the first to be found"))
        return made


def dotted(path: Path) -> str:
    """A path as people write it: `bottles.web.egress[0].host`. Sanitised."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step, width=60)}"
    return text.removeprefix(".")


def suggest(name: str, there: Iterable[str], otherwise: str) -> str:
    """The words for a name that is not among `there`: the one it resembles, else `otherwise`."""
    from difflib import get_close_matches
    from itertools import islice

    close = get_close_matches(name, list(islice(there, MOST)), 1, 0.6)
    return f'did you mean "{close[0]}"?' if close else otherwise
