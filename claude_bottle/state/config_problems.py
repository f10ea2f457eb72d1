"""What is wrong with `config.json`: collected while it is read, told all at once, each with its line and column.

A problem is noted by the dotted name of its setting; where that stands is looked up only when there is something to tell.
"""

from __future__ import annotations

from claude_bottle.redact import printable


class ConfigProblems:
    """`where` of each is made of `step`s, joined by dots; "" is the whole file."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, where: str, message: str) -> None:
        self._found.append((where, message))

    def wrong(self, where: str, expected: str, value: object) -> None:
        found = "nothing" if value is None else type(value).__name__
        self.add(where, f"expected {expected}, found {found}")

    def __len__(self) -> int:
        return len(self._found)

    def lines(self, name: str, text: str) -> list[str]:
        """Everything noted, one line each, of the file called `name` whose content is `text`."""
        from claude_bottle.state.positions import scan

        found = scan(text)
        places: dict[str, tuple[int, int]] = {}
        for path, offset in found.keys.items():
            places.setdefault(".".join(map(step, path)), found.line_column(offset))
        lines = []
        for where, message in self._found:
            nearest = where
            while nearest and nearest not in places:
                nearest = nearest.rpartition(".")[0]
            line, column = places.get(nearest, (1, 1))
            lines.append(f"{name}:{line}:{column}: {where}: {message}")
        return lines


def step(key: object) -> str:
    """A key as problems name it, sanitised."""
    return printable(str(key), width=80)
