"""The keeper's side of judging pushes, on a loop of its own: real judges in their own confined processes."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

from claude_bottle.keeper.carriers import Carriers
from claude_bottle.keeper.judges import Judges
from claude_bottle.keeper.loop import READ, Loop
from claude_bottle.model.policy import Rule
from tests.waiting import SECONDS


class Bench:
    """`line` is the gate's end; `faults` what the keeper was told of."""

    def __init__(self, place: Path, rules: tuple[Rule, ...] = ()) -> None:
        self._loop = Loop()
        self._ours, self.line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.faults: list[dict[str, Any]] = []
        self.judges = Judges(self._loop, self._ours, place, lambda what, **data: self.faults.append({"what": what, **data}),
                             Carriers(self._loop, rules), any(rule.git and rule.git.sign for rule in rules))  # fmt: skip
        self._stop, self._stopping = os.pipe()
        self._loop.watch(self._stop, READ, lambda _ready: self._loop.stop())
        self._thread = threading.Thread(target=self._loop.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stopping, b"x")
        self._thread.join(SECONDS)
        self.judges.close()
        self._loop.close()
        for sock in (self._ours, self.line):
            sock.close()
        os.close(self._stop)
        os.close(self._stopping)
