"""The operator's own terminal while it is lent to a bottle: raw on the way in, as it was on the way out.

Whatever ends the loan (the agent, the detach key, an error, a signal), modes the agent switched on are switched off,
the line settings come back and unread input is thrown away, so that nothing the terminal still sends is typed into the
operator's shell. A terminal that a killed CLI left raw is recognised and given back sane.
"""

from __future__ import annotations

import os
import signal
import termios
from types import FrameType, TracebackType

from claude_bottle.errors import BottleError
from claude_bottle.keeper.filter import TerminalFilter
from claude_bottle.keeper.modes import Modes, recovering
from claude_bottle.keeper.title import Title

# Leave (detach) on these; the agent runs on.
LEAVING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Screen:
    """Use as a context. `wakeup` becomes readable when a signal has come: one byte, its number."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        if not (os.isatty(fd_in) and os.isatty(fd_out)):
            raise BottleError("attaching needs a terminal", why="standard input or output is not one",
                              do="use `claude-bottle run` or `claude-bottle exec` without a terminal")  # fmt: skip
        self.fd_in, self.fd_out = fd_in, fd_out
        self.wakeup = -1
        self._filter, self._modes = TerminalFilter(), Modes()
        self.title = Title()
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Screen:
        self._saved = sane(termios.tcgetattr(self.fd_in))
        self.wakeup, self._wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former_wakeup = signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        for number in (*LEAVING, signal.SIGWINCH):
            self._handlers[number] = signal.signal(number, _nothing)
        try:
            termios.tcsetattr(self.fd_in, termios.TCSADRAIN, raw(self._saved))  # type: ignore[arg-type]
        except BaseException:
            self._restore_signals()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        try:
            give_back(self.fd_in, self.fd_out, self._saved, self.title.restoring() + self._modes.resetting())
        finally:
            self._restore_signals()

    def shown(self, data: bytes) -> bytes:
        """What of the keeper's output goes to the terminal: filtered a second time here, so that neither an older
        keeper nor a mistake in one reaches it; and the modes are noted, to be undone."""
        passed = self._filter.feed(data)
        self._modes.note(passed)
        return passed

    def size(self) -> tuple[int, int]:
        """Rows and columns now."""
        try:
            found = os.get_terminal_size(self.fd_out)
        except OSError:
            return 24, 80
        return found.lines, found.columns

    def _restore_signals(self) -> None:
        signal.set_wakeup_fd(self._former_wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self.wakeup)
        os.close(self._wakeup_end)


def recover(fd_in: int, fd_out: int) -> bool:
    """Give back a terminal that a killed CLI left raw. True if it was; nothing happens otherwise."""
    try:
        found = termios.tcgetattr(fd_in)
    except termios.error:
        return False
    if not is_raw(found):
        return False
    give_back(fd_in, fd_out, sane(found), recovering())
    return True


def give_back(fd_in: int, fd_out: int, settings: list[object], sequence: bytes) -> None:
    """Write the reset, then restore the line: after the output is out, and throwing unread input away. A terminal that
    has been closed needs nothing."""
    try:
        while sequence:
            sequence = sequence[os.write(fd_out, sequence) :]
    except OSError:
        pass
    try:
        termios.tcsetattr(fd_in, termios.TCSAFLUSH, settings)  # type: ignore[arg-type]
    except (OSError, termios.error):
        pass


def is_raw(settings: list[object]) -> bool:
    return not int(str(settings[3])) & (termios.ICANON | termios.ECHO | termios.ISIG)


def sane(settings: list[object]) -> list[object]:
    """`settings`, or where they are those of a raw terminal, that no shell would have left so: what stty(1) calls sane."""
    if not is_raw(settings):
        return settings
    fixed = [int(str(value)) if index < 4 else value for index, value in enumerate(settings)]
    fixed[0] |= termios.BRKINT | termios.ICRNL | termios.IXON  # type: ignore[operator]
    fixed[1] |= termios.OPOST | termios.ONLCR  # type: ignore[operator]
    fixed[3] |= (termios.ICANON | termios.ISIG | termios.IEXTEN | termios.ECHO | termios.ECHOE | termios.ECHOK  # type: ignore[operator]
                 | termios.ECHOCTL | termios.ECHOKE)  # fmt: skip
    return fixed


def raw(settings: list[object]) -> list[object]:
    """As cfmakeraw(3): every byte as it comes, nothing interpreted, nothing echoed; reads return at the first byte."""
    flags = [int(str(value)) for value in settings[:4]]
    flags[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
                  | termios.ICRNL | termios.IXON)  # fmt: skip
    flags[1] &= ~termios.OPOST
    flags[2] = flags[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    flags[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    characters = list(settings[6])  # type: ignore[call-overload]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [*flags, *settings[4:6], characters]


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Woken by the descriptor instead, see `Screen.wakeup`."""
