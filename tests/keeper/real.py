"""One whole bottle of the real kind (bubblewrap, gate), driven as a person: `python -m tests.keeper.real PLACE`.

Prints what was seen as one JSON object. The keeper's part in front of it is the product's own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claude_bottle.backend.bubblewrap.backend import BubblewrapBackend
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.order import PIPES, Order, Pipes
from claude_bottle.keeper.relay import pump
from claude_bottle.keeper.spawn import start
from claude_bottle.model.policy import Rule
from claude_bottle.values import replace
from tests.keeper import orders
from tests.waiting import ended, eventually

AGENT = "stty -echo; echo ready; read line; exit 3"
PROBE = "id -un; echo $HOME; pwd; echo by-name > /dev/stderr; getent hosts denied.test || echo no-name; cat /proc/1/comm"


def order(place: Path, *argv: str, **options: Any) -> Order:
    rules = (Rule("granted.test"),)
    made = orders.order(place / "root", *argv, backend=BubblewrapBackend(),
                        gate=GateConfig("tester-000000", rules, nonce=os.urandom(8).hex()), **options)  # fmt: skip
    return replace(made, plan=replace(made.plan, egress=rules))


def main(place: Path) -> None:
    seen: dict[str, Any] = {}
    for name, part in (("pipes", piped), ("terminal", terminal), ("killed", killed), ("leader", leader)):
        seen[name] = part(place)
    print(json.dumps(seen))


@contextmanager
def bottle(place: Path, *argv: str) -> Iterator[tuple[Order, int, Control]]:
    made = order(place, *argv)
    up = start(made)
    birth = Control(made.paths, made.identity, up.connection)
    try:
        yield made, up.keeper, birth
    finally:
        try:
            os.kill(up.keeper, signal.SIGKILL)
        except ProcessLookupError:
            pass
        ended(up.keeper)
        birth.close()


def output(made: Order, *argv: str) -> dict[str, Any]:
    """What an exec without a terminal wrote."""
    out, err, null = os.memfd_create("out"), os.memfd_create("err"), os.open("/dev/null", os.O_RDONLY)
    with Control(made.paths, made.identity) as control:
        code = control.exec(list(argv), tty=False, stdio=(null, out, err))
    os.close(null)
    return {"code": code, "out": os.pread(out, 65536, 0).decode(), "err": os.pread(err, 65536, 0).decode()}


def piped(place: Path) -> dict[str, Any]:
    """`run`: a headless agent, its streams and code."""
    pipes = Pipes.make()
    made = order(place, "/bin/sh", "-c", PROBE + "; echo by-name > /dev/stdout; exit 4", io=PIPES, pipes=pipes)
    up = start(made)
    out, err, null = os.memfd_create("out"), os.memfd_create("err"), os.open("/dev/null", os.O_RDONLY)
    with Control(made.paths, made.identity, up.connection) as birth:
        outcome = pump(birth, pipes, (null, out, err))
        settled = birth.settled()
    os.close(null)
    return {
        "code": outcome.code, "out": os.pread(out, 65536, 0).decode(), "err": os.pread(err, 65536, 0).decode(),
        "settled": settled,
    }  # fmt: skip


def terminal(place: Path) -> dict[str, Any]:
    """A session: the agent has its terminal, an exec runs beside it, the agent's end settles."""
    with bottle(
        place,
        "/bin/sh",
        "-c",
        "tty -s && stty size > /workspace/size; : < /dev/stdin && echo named >> /workspace/size; " + AGENT,
    ) as (made, keeper, birth):
        beside = output(made, "/bin/sh", "-c", PROBE)
        size = made.workspace / "size"
        eventually(lambda: size.exists() and "named" in size.read_text())  # before whoever attaches changes it
        with Control(made.paths, made.identity) as control:
            status = control.status()
            hidden = os.stat(f"/proc/{keeper}/environ").st_uid
            control.send({"op": "attach", "rows": 30, "cols": 90})
            control.send_frame(b"0\0\0\0\1\r")
            code = control.wait().code
        settled = birth.settled()
        return {"exec": beside, "hidden": hidden, "gate": status["gate"], "code": code, "settled": settled,
                "size": size.read_text()}  # fmt: skip


def killed(place: Path) -> dict[str, Any]:
    """The keeper is killed: nothing of the bottle or its gate stays."""
    with bottle(place, "/bin/sh", "-c", AGENT) as (made, keeper, _birth):
        with Control(made.paths, made.identity) as control:
            agent = int(str(control.status()["agent"]))
        family = [agent, *children(keeper)]
        os.kill(keeper, signal.SIGKILL)
        return {"family": len(family), "ended": [ended(pid) for pid in family]}


def leader(place: Path) -> dict[str, Any]:
    """Ctrl-C typed at the agent's terminal reaches it."""
    agent = "trap 'exit 7' INT; echo ready; while :; do sleep 1; done"
    with bottle(place, "/bin/sh", "-c", agent) as (made, _keeper, _birth), Control(made.paths, made.identity) as control:
        control.send({"op": "attach", "rows": 30, "cols": 90})
        text = b""
        while b"ready" not in text:
            text += b"".join(payload for kind, payload in control.receive() or [] if kind == b"1")
        control.send_frame(b"0\0\0\0\1\x03")
        return {"code": control.wait().code}


def children(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                        found.append(int(name))
            except OSError:
                continue
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
