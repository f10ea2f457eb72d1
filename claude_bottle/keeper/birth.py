"""What is said at a keeper's birth, between it and the CLI that waits: one report, and that it was heard.

A launch has happened once both are: what nobody has heard of its keeper takes back, whether the CLI ended before the report
or with that unread. What follows on the line belongs to the control conversation, and so does the CLI's word.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames

if TYPE_CHECKING:
    from claude_bottle.keeper.frames import Decoder

HEARD = "heard"
# For a CLI to say that it has heard of its bottle; one that merely stands still has it all the same.
_HEARD_SECONDS = 30.0


def tell(line: socket.socket, message: dict[str, object]) -> bool:
    """The keeper's report. Whether the CLI is still there to hear it."""
    try:
        line.sendall(frames.encode_json(message))
    except OSError:
        return False
    return True


def heard(line: socket.socket) -> bool:
    """Whether the CLI has taken the report."""
    try:
        return not select.select([line], [], [], _HEARD_SECONDS)[0] or bool(line.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def take(mine: socket.socket) -> None:
    """Tell the keeper that its report was heard: what nobody has heard of it takes back."""
    try:
        mine.sendall(frames.encode_json({"op": HEARD}))
    except OSError:
        pass  # it is gone, as whoever speaks to it next will find


def await_report(mine: socket.socket) -> int:
    message = _first_message(mine, frames.Decoder())
    if message is None:
        raise BottleError("the bottle could not be started", why="its keeper ended without a word")
    if message.get("op") == "up":
        marks = message.get("marks")
        log.merge_marks([(str(name), float(at)) for name, at in marks] if isinstance(marks, list) else [])
        return int(str(message["pid"]))
    error = message.get("error")
    raise BottleError.from_dict(error if isinstance(error, dict) else {})


def _first_message(mine: socket.socket, decoder: Decoder) -> dict[str, object] | None:
    """Byte by byte as far as needed: what follows the report belongs to the control conversation."""
    wanted = 5
    while True:
        data = mine.recv(wanted)
        if not data:
            return None
        for _kind, payload in decoder.feed(data):
            return frames.decode_json(payload)
        wanted = decoder.missing
