"""A real bottle (bubblewrap, gate) and its layers: `python -m tests.keeper.rebooting again|killed PLACE SETTINGS`.

`again`: it boots again twice. `killed`: its keeper is killed while it builds. `SETTINGS` is config.json. Prints what was seen
as one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from claude_bottle.keeper.client import Control
from claude_bottle.keeper.order import Order
from claude_bottle.keeper.spawn import start
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace
from claude_bottle.workflow import gates
from tests import granting
from tests.keeper import real
from tests.waiting import ended, eventually

AGENT = "trap 'exit 0' TERM; echo life >> lives; one >> lives; two >> lives; while :; do sleep 0.05; done"


def main(what: str, place: Path, settings: str) -> None:
    os.environ["CLAUDE_BOTTLE_HOME"] = str(place / "root")
    (place / "root").mkdir(mode=0o700)
    (place / "root" / "config.json").write_text(settings)
    (place / "root" / "config.json").chmod(0o600)
    made = real.order(place, "sh", "-c", AGENT, outlet=gates.outlet(Paths(place / "root")))
    made = replace(made, launch=replace(made.launch, args=made.argv))  # which its harness begins again with
    up = start(made)
    keeper = os.pidfd_open(up.keeper)
    try:
        with Control(made.paths, made.identity, up.connection) as birth:
            print(json.dumps({"again": again, "killed": killed}[what](made, up.keeper, birth)))
    finally:  # whatever failed, nothing runs on
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(keeper, signal.SIGKILL)


def again(made: Order, keeper: int, birth: Control) -> dict[str, Any]:
    told, lives = [], made.workspace / "lives"
    for name, before in (("one", "life"), ("two", "life life one")):
        eventually(lambda: lives.exists() and lives.read_text().split() == before.split())  # noqa: B023
        with Control(made.paths, made.identity) as control:
            told.append(granting.grant(control, {"pip": [name]}))
    with Control(made.paths, made.identity) as control:
        status = control.status()
    hidden = os.stat(f"/proc/{keeper}/environ").st_uid
    look = "one; two; getent hosts granted.test | cut -c1-7; until grep -q two lives; do sleep 0.1; done; cat lives"
    inside = real.output(made, "/bin/sh", "-c", look)
    birth.send({"op": "stop", "grace": 60, "keep": False})
    return {"told": told, "keeper": status["keeper"] == keeper, "gate": status["gate"], "hidden": hidden, "inside": inside,
            "settled": birth.settled()}  # fmt: skip


def killed(made: Order, keeper: int, _birth: Control) -> dict[str, Any]:
    """Once the build has begun to fetch: the keeper, its builder, its gate and its bottle, all of them."""
    with Control(made.paths, made.identity) as control:
        control.send(granting.begin(control, {"pip": ["slow"]}))
        with Control(made.paths, made.identity) as following:
            found = following.follow_requests()
            while not any("Preparing" in one["progress"] for one in next(found)["requests"]):
                pass
        family, young = [], [keeper]
        while young:
            young = [child for parent in young for child in real.children(parent)]
            family += young
        os.kill(keeper, signal.SIGKILL)
        gone = [ended(pid) for pid in (keeper, *family)]
    return {"family": len(family), "gone": all(gone)}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
