"""The command line as on a host whose /etc/os-release says what is in a file: `python -m tests.e2e.on_another_release FILE
ARGUMENTS…`. As after an upgrade of this one, whose programs are the same otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

from claude_bottle.backend.bubblewrap import distribution
from claude_bottle.cli import main

if __name__ == "__main__":
    distribution._OS_RELEASE = Path(sys.argv.pop(1))
    sys.exit(main())
