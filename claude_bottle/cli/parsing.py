"""argparse with our own voice: errors are `UsageError`, and help reads the same on every Python.

The text of `--help` is laid out here because docs/cli.md holds it (a test compares) and argparse's own layout
changes between versions. At most 80 columns.
"""

from __future__ import annotations

import argparse

from claude_bottle.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# It looks for its own words in the operator's language, of which there is no catalogue: 1 ms of every command.
vars(argparse)["_"] = str
WIDTH = 80
_COLUMN = 24


class Parser(argparse.ArgumentParser):
    """The parser of one verb. `tail` is what may follow `--` ("[-- ARGS]"), "" if nothing may."""

    def __init__(self, verb: str, description: str, *, tail: str = "", examples: str = "") -> None:
        super().__init__(
            prog=f"claude-bottle {verb}",
            description=description.strip(),
            allow_abbrev=False,
            # argparse makes one for every option it is given; without a width each would look for the terminal's.
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=WIDTH),
        )
        self.tail, self.examples = tail, examples.strip()

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, do=f"{self.prog} --help")

    def format_usage(self) -> str:
        words = [self.prog, *(_placed(a) for a in self._positionals_()), "[options]"]
        return f"usage: {' '.join([*words, self.tail]).rstrip()}\n"

    def format_help(self) -> str:
        import textwrap

        paragraphs = [" ".join(part.split()) for part in (self.description or "").split("\n\n")]
        blocks = [self.format_usage().rstrip(), *(textwrap.fill(part, WIDTH) for part in paragraphs)]
        named = [action for action in self._actions if action.option_strings]
        rows = [_row(_named(action), action.help or "") for action in self._positionals_()]
        if rows:
            blocks.append("\n".join(rows))
        blocks.append("\n".join(["options", *(_row(_named(action), action.help or "") for action in named)]))
        if self.examples:
            lines = self.examples.splitlines()
            title = "examples" if len(lines) > 1 else "example"
            blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(blocks) + "\n"

    def _positionals_(self) -> list[argparse.Action]:
        return [action for action in self._actions if not action.option_strings]


def _placed(action: argparse.Action) -> str:
    name = _value(action)
    return {"*": f"[{name}...]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _named(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _value(action)
    if not action.option_strings:
        return value
    # Short forms first, as everywhere: `-a, --all`.
    return f"{', '.join(sorted(action.option_strings, key=len))} {value}".rstrip()


def _value(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _row(name: str, text: str) -> str:
    import textwrap

    lines = textwrap.wrap(text, WIDTH - _COLUMN, break_on_hyphens=False) or [""]
    head = f"  {name:<{_COLUMN - 2}}" if len(name) <= _COLUMN - 4 else f"  {name}\n{'':{_COLUMN}}"
    return (head + f"\n{'':{_COLUMN}}".join(lines)).rstrip()
