"""Processes of our own beside the keeper: each a fresh interpreter in which nothing of the keeper's memory is.

It runs one module's `main`, gets descriptors and one argument, leads a process group of its own, and ends with its
keeper.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from claude_bottle import proc
from claude_bottle.keeper.daemon import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program(module: str) -> str:
    """What one begins with: `main` of claude_bottle.keeper.`module`."""
    return f"import sys; sys.path.insert(0, {_HERE!r}); from claude_bottle.keeper.{module} import main; main()"


def start(
    begin: str, argument: str, lines: Sequence[int], env: Mapping[str, str], errors: IO[bytes] | int = proc.DEVNULL
) -> Any:
    """A process that begins with a `program`, with `lines` open under their numbers."""
    return proc.popen(
        [sys.executable, "-I", "-c", begin, argument], env=dict(env), cwd="/", stdin=proc.DEVNULL, stdout=proc.DEVNULL,
        stderr=errors, pass_fds=list(lines), start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip


def kill(process: Any) -> None:
    """With everything it started; its process group is its own. It still has to be waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
