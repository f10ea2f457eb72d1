"""The demo's tour without a terminal: the agent's own event stream, told as it happens.

The scripted model quotes what its commands printed, so their results are not shown twice.
"""

from __future__ import annotations

import json
from typing import Any

from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.workflow import boot, piping, programs
from claude_bottle.workflow.start import Options, prepare

_ARGUMENTS = ("--print", "--output-format", "stream-json", "--verbose")
_LINE_LIMIT = 1 << 20


def tour(prompt: str) -> int:
    """Run the agent headless on `prompt` and print what it says and runs. Its exit code."""
    with temporary_directory() as stage:
        options = Options(name="claude", args=(*_ARGUMENTS, prompt), yes=True)
        paths = Paths.default()
        spec, plan = prepare(options, paths, stage, headless=True)
        plan.print()
        program, plan = programs.provide(spec, plan, paths, stage)
        order = boot.order(spec, plan, program, paths)
    return piping.run(order, taker=Story())


class Story:
    """A taker for Claude Code's `stream-json` output: prints each step. Foreign text passes the sanitiser."""

    def __init__(self) -> None:
        self._buffer = b""

    def __call__(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        self._buffer = self._buffer[-_LINE_LIMIT:]
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("type") == "assistant":
                self._tell(event.get("message"))

    def _tell(self, message: Any) -> None:
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else []:
            if not isinstance(block, dict):
                continue
            if block.get("type") == "text":
                print(f"\n{printable(str(block.get('text', '')), keep_newlines=True)}", flush=True)
            elif block.get("type") == "tool_use":
                print(f"  $ {printable(_what(block), width=76)}", flush=True)


def _what(block: dict[str, Any]) -> str:
    given: Any = block.get("input")
    if not isinstance(given, dict):
        given = {}
    return str(given.get("command") or f"{block.get('name')} {given.get('file_path', '')}")
