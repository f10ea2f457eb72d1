"""For all tests: whoever runs them with nohup or in the background of a shell has some signals ignored. Every program that
they start would inherit that, and not end when it is hung up on or interrupted; a handler it does not inherit."""

from __future__ import annotations

import signal

for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
