"""A real terminal for a program under test: a tmux server of its own, keys in, rendered screen out."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.waiting import SECONDS, eventually

# tmux itself may never learn of the end: at times 3.3a misses the signal, keeps a zombie and shows no status.
# Programs believe these variables more than the terminal.
_TELL = 'unset COLUMNS LINES; "$@"; echo $? > "$0"'
_numbers = itertools.count()


class Screen:
    """Runs `argv` in a terminal of its own. `wait` blocks until the screen matches; `exit_code` until the program ends."""

    def __init__(self, place: Path, argv: list[str], *, columns: int = 100, rows: int = 40) -> None:
        number = next(_numbers)
        self._code = place / f"exit{number}"
        self._server = ["tmux", "-f", "/dev/null", "-S", str(place / f"tmux{number}")]
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sleep 86400")
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.tmux("respawn-pane", "-k", shlex.join(["sh", "-c", _TELL, str(self._code), *argv]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tmux("kill-server")

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def drawn(self) -> str:
        """The same with the sequences that colour it."""
        return self.tmux("capture-pane", "-p", "-e")

    def paste(self, text: str) -> None:
        """As a terminal does it: marked as a paste where the program has asked for that."""
        self.tmux("set-buffer", text)
        self.tmux("paste-buffer", "-p")

    def type(self, text: str) -> None:
        """Type a line; return is pressed once the program shows it."""
        self.tmux("send-keys", "-l", text)
        self.wait(re.escape(text))
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Several keys arrive at once."""
        self.tmux("send-keys", *keys)

    def wait(self, pattern: str) -> str:
        deadline = time.monotonic() + SECONDS
        while re.search(pattern, shown := self.text()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} did not appear in:\n{shown}")
            time.sleep(0.05)
        return shown

    def exit_code(self) -> int:
        if not self.ends(SECONDS):
            raise TimeoutError(f"the program did not end; it shows:\n{self.text()}")
        return int(self._code.read_text())

    def ends(self, seconds: float) -> bool:
        """Whether the program ends within the time."""
        try:
            eventually(lambda: self._code.exists() and self._code.read_text().endswith("\n"), seconds)
        except AssertionError:
            return False
        return True

    def tmux(self, *argv: str) -> str:
        """A command of the terminal's own; what it says."""
        done = subprocess.run([*self._server, *argv], capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout
