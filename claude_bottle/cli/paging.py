"""Long output on a terminal goes through the operator's pager, in colour; anywhere else it is plain lines on stdout."""

from __future__ import annotations

import os
import sys

from claude_bottle.cli.colour import paint
from claude_bottle.errors import BottleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def show(lines: Iterable[tuple[str, str | None]]) -> None:
    """Print lines, each with a colour or None; all of them safe to print already."""
    pager = _pager()
    text = "".join(f"{paint(line, colour)}\n" for line, colour in lines)
    if not pager:
        sys.stdout.write(text)
        return
    from claude_bottle import proc

    # What `less` can run from its prompt, and read beforehand (LESSOPEN), is none of this text's business.
    env = {**proc.base_env(), **_terminal(), "LESS": "FRX", "LESSSECURE": "1", "LV": "-c"}
    sys.stdout.flush()
    try:
        process = proc.popen(pager, stdin=proc.PIPE, env=env)
    except OSError:
        sys.stdout.write(text)
        return
    try:
        process.communicate(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
    except BrokenPipeError:
        pass  # the reader has seen enough
    process.wait()


def _pager() -> list[str]:
    """The operator's, else `less`; none off a terminal, or where it is `cat` or empty."""
    import shlex

    if sys.stdout is None or not sys.stdout.isatty():
        return []
    words = shlex.split(os.environ.get("CLAUDE_BOTTLE_PAGER", os.environ.get("PAGER", "less")))
    if not words or words == ["cat"]:
        return []
    from claude_bottle import proc

    program = proc.find(words[0])
    return [program, *words[1:]] if program else []


def _terminal() -> dict[str, str]:
    return {name: os.environ[name] for name in ("TERM", "COLORTERM", "LESSCHARSET", "LC_CTYPE") if name in os.environ}


def write_new(name: str, data: bytes) -> None:
    """Into a file that does not exist yet, for its owner alone: what is in it may be anything."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as problem:
        raise BottleError(f"cannot write {name}", why=problem.strerror or str(problem)) from problem
