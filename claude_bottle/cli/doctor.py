"""What works on this machine, and the exact fix for what does not. Exit code 4 if nothing can run."""

from __future__ import annotations

import argparse

from claude_bottle.cli.colour import paint
from claude_bottle.cli.options import add_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = "claude-bottle doctor"
# state → (what stands before the check, its colour)
_SIGNS = {"ok": ("ok  ", "green"), "weaker": ("weak", "yellow"), "missing": ("NO  ", "red"),
          "absent": ("--  ", "yellow")}  # fmt: skip
_WIDTH, _INDENT, _NAME = 80, 8, 20


def configure(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.doctor import examine

    report = examine()
    if options.json:
        import json

        print(json.dumps(report, indent=2))
    else:
        print("\n\n".join(_section(section["name"], section["checks"]) for section in report["sections"]))
    return 0 if report["ok"] else 4


def _section(name: str, checks: list[Mapping[str, str]]) -> str:
    return "\n".join([name, *(line for check in checks for line in _check(check))])


def _check(check: Mapping[str, str]) -> list[str]:
    """A line for what is, and below it, as it is (it may be a command to copy), the fix for what is not."""
    import textwrap

    sign, colour = _SIGNS[check["state"]]
    head = f"  {paint(sign, colour)}  "
    name = f"{check['name']:<{_NAME}}" if len(check["name"]) < _NAME else f"{check['name']}  "
    room = _WIDTH - _INDENT - len(name)
    detail = textwrap.wrap(check["detail"], room, break_long_words=False, break_on_hyphens=False) or [""]
    hang = " " * (_INDENT + len(name))
    fix = [f"{'':{_INDENT}}do  {line}" for line in check["fix"].splitlines()]
    return [(head + name + detail[0]).rstrip(), *(hang + line for line in detail[1:]), *fix]
