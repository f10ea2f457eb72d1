"""The operator's terminal, before it is lent: questions, and mending what a killed command left.

The answer to a question comes from the terminal itself, so a pipe on stdin can never answer.
"""

from __future__ import annotations

import os

from claude_bottle.errors import Refused
from claude_bottle.log import PREFIX

_YES = ("y", "Y", "yes", "YES")
_ANSWER_LIMIT = 256


def mend() -> None:
    """Make a terminal sane that a command killed while attached has left raw. For the start of every command that may
    be the next one there. In the background it is not ours to touch."""
    try:
        if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
            return
    except OSError:
        return
    from claude_bottle.keeper.screen import recover

    recover(0, 1 if os.isatty(1) else 0)


def ask(question: str) -> bool:
    """Put a yes/no question; only y, Y, yes and YES are yes. Refused (exit 3) when there is no terminal to ask."""
    try:
        tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise Refused(
            "there is no terminal to ask", why="this needs the operator's yes", do="say it on the command line: --yes"
        ) from None
    try:
        _drain(tty)
        # The question belongs on stderr (contract §2); where that is not the terminal, the terminal shows it too.
        os.write(2, f"{PREFIX}{question}".encode())
        if not os.isatty(2):
            os.write(tty, f"{PREFIX}{question}".encode())
        answer = os.read(tty, _ANSWER_LIMIT).decode(errors="replace")
    finally:
        os.close(tty)
    return answer.strip(" \t\r\n") in _YES


def _drain(tty: int) -> None:
    """Forget what was typed before the question was seen."""
    import termios

    try:
        termios.tcflush(tty, termios.TCIFLUSH)
    except termios.error:
        pass
