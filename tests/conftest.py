"""What holds for all tests, whoever runs them on whatever machine.

How long an example of a property test takes says how busy this machine is, and nothing of the product: no deadline, as on a
CI machine, where Hypothesis sets none of itself. Run with nohup or in the background of a shell, the tests have some signals
ignored: every program that they start would inherit that, and not end when it is hung up on or interrupted; a handler it
does not inherit. What the tests themselves make is nobody else's to write, whatever this user's umask: the product takes
nothing else.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=(*settings().suppress_health_check, HealthCheck.too_slow)
)
settings.load_profile("busy")

os.umask(0o022)

for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
