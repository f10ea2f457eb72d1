"""A real bottle (bubblewrap, gate) that boots again twice: `python -m tests.keeper.rebooting PLACE SETTINGS`.

`SETTINGS` is config.json. Prints what was seen as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from claude_bottle.keeper.client import Control
from claude_bottle.keeper.spawn import start
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace
from claude_bottle.workflow import gates
from tests.keeper import real

AGENT = "trap 'exit 0' TERM; echo life >> lives; one >> lives; two >> lives; while :; do sleep 0.05; done"


def main(place: Path, settings: str) -> None:
    os.environ["CLAUDE_BOTTLE_HOME"] = str(place / "root")
    (place / "root").mkdir(mode=0o700)
    (place / "root" / "config.json").write_text(settings)
    (place / "root" / "config.json").chmod(0o600)
    made = real.order(place, "sh", "-c", AGENT, outlet=gates.outlet(Paths(place / "root")))
    made = replace(made, launch=replace(made.launch, args=made.argv))  # which its harness begins again with
    up = start(made)
    told, seen = [], dict[str, Any]()
    with Control(made.paths, made.identity, up.connection) as birth:
        for name in ("one", "two"):
            with Control(made.paths, made.identity) as control:
                told.append(control.grant_capability({"pip": [name]}, lambda _line: None))
        with Control(made.paths, made.identity) as control:
            status = control.status()
        seen |= {"told": told, "keeper": status["keeper"] == up.keeper, "gate": status["gate"]}
        seen["hidden"] = os.stat(f"/proc/{up.keeper}/environ").st_uid
        look = "one; two; getent hosts granted.test | cut -c1-7; until grep -q two lives; do sleep 0.1; done; cat lives"
        seen["inside"] = real.output(made, "/bin/sh", "-c", look)
        birth.send({"op": "stop", "grace": 60, "keep": False})
        seen["settled"] = birth.settled()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
