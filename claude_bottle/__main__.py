"""The entry point: `claude-bottle`, `python -m claude_bottle`, `./cli.py`.

Whoever presses Ctrl-C at once wants no traceback of Python's own start. So `./cli.py` starts Python without its search for
packages (-S), which is most of that start; it is done here, where an interruption is an exit code.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; without `argv` this process's own, which then ends here."""
    if argv is not None:
        _fill_standard_descriptors()
        from claude_bottle.cli import main as run

        return run(argv)
    gc.disable()  # what a command imports stays, so looking for garbage in it is 7 % of a launch for nothing
    try:
        _fill_standard_descriptors()
        _find_packages()
        _clean_up_when_told_to_end()
        from claude_bottle.cli import main as run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line had begun, or once more while it ended
        code = 130
    return _end(code)


def _end(code: int) -> int:
    import os

    try:
        if sys.stderr is not None:
            sys.stderr.flush()  # standard output is flushed, or its problem told
    except OSError:
        pass  # the terminal has gone
    os._exit(code)  # everything is closed or told by now; taking the interpreter apart would only take time
    return code


def _find_packages() -> None:
    """Where Python was started with -S."""
    if sys.flags.no_site:
        import site

        site.main()


def _clean_up_when_told_to_end() -> None:
    """SIGTERM, and SIGHUP from a terminal that goes: as Ctrl-C, so that whatever was begun is taken back. Once is enough."""
    import signal  # here, where Ctrl-C is no traceback

    def told(number: int, _frame: object) -> None:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, told)


def _fill_standard_descriptors() -> None:
    """Whoever closed 0, 1 or 2 must not make the next file or socket we open into our standard output."""
    import os

    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is fd


if __name__ == "__main__":
    sys.exit(main())
