"""An operator who approves a capability, as a process of its own: `python -m tests.e2e.granting IDENTITY JSON NOTE`.

Prints how it went and how long that took, as JSON. Stands for whoever decides, who has the same call of the keeper.
"""

from __future__ import annotations

import json
import sys
import time

from claude_bottle.keeper.client import Control
from claude_bottle.state.paths import Paths


def main(identity: str, capability: str, note: str) -> None:
    lines: list[str] = []
    with Control(Paths.default(), identity) as control:
        began = time.monotonic()
        how, why = control.grant_capability(json.loads(capability), lines.append, note=note)
        took = time.monotonic() - began
    print(json.dumps({"how": how, "why": why, "began": began, "seconds": took, "lines": lines}))


if __name__ == "__main__":
    main(*sys.argv[1:])
