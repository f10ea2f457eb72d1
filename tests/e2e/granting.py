"""An operator who gives a tool, as a process of its own: `python -m tests.e2e.granting IDENTITY JSON`.

Prints how it went and how long that took, as JSON. Stands for whoever decides, who has the same call of the keeper.
"""

from __future__ import annotations

import json
import sys
import time

from claude_bottle.keeper.client import Control
from claude_bottle.state.paths import Paths
from tests import granting


def main(identity: str, capability: str) -> None:
    with Control(Paths.default(), identity) as control:
        began = time.monotonic()
        how, why = granting.grant(control, json.loads(capability))
        took = time.monotonic() - began
    print(json.dumps({"how": how, "why": why, "began": began, "seconds": took}))


if __name__ == "__main__":
    main(*sys.argv[1:])
