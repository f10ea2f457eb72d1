"""The CLI of the keeper's tests, as a process of its own: `python -m tests.keeper.program VERB ROOT …`.

`start ROOT ARGV…` launches and attaches, `attach ROOT IDENTITY` attaches, `exec ROOT IDENTITY tty|pipes ARGV…` runs
beside the agent. What came of it is the last line, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.keeper.client import ENDED, Control
from claude_bottle.keeper.screen import recover
from claude_bottle.keeper.spawn import start
from claude_bottle.state.paths import Paths
from tests.keeper import orders


def main(verb: str, root: str, *rest: str) -> None:
    if verb == "start":
        order = orders.order(Path(root), *rest)
        up = start(order)
        say({"identity": up.identity, "keeper": up.keeper})
        attach(Control(order.paths, up.identity, up.connection))
        return
    recover(0, 1)
    control = Control(Paths(root), rest[0])
    if verb == "attach":
        say({"attaching": rest[0]})
        attach(control)
    else:
        code = control.exec(list(rest[2:]), tty=rest[1] == "tty")
        if rest[1] == "tty":
            say({"code": code})
        sys.exit(code)


def attach(control: Control) -> None:
    outcome = control.attach()
    say({"how": outcome.how, "code": outcome.code})
    if outcome.how == ENDED:
        say({"settled": control.settled()})


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BottleError as problem:
        say({"error": problem.what})
        sys.exit(problem.exit_code)
