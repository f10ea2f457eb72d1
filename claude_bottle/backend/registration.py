"""How a bottle's listeners reach its gate: one message over one socket, acknowledged by one byte.

Whoever opened the listeners (the opener, or a keeper that was passed them) calls this and keeps no copy. The nonce says
that they are this bottle's; the gate closes everything when it does not like what it gets.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence

from claude_bottle.errors import BottleError

# For a gate that hangs; one that ends is noticed at once.
ACKNOWLEDGE_SECONDS = 120


def register(registration: socket.socket, nonce: str, names: Sequence[str], descriptors: Sequence[int]) -> None:
    """Hand the listeners over: one message, one time."""
    message = json.dumps({"nonce": nonce, "listeners": list(names)}) + "\n"
    socket.send_fds(registration, [message.encode()], list(descriptors))


def await_acknowledgement(registration: socket.socket) -> None:
    """Return once the gate has taken the listeners; BottleError if it refuses, is gone or says nothing."""
    registration.settimeout(ACKNOWLEDGE_SECONDS)
    try:
        answer = registration.recv(1)
    except TimeoutError:
        raise BottleError("the gate did not take the bottle's listeners", why="no answer in time") from None
    except ConnectionResetError:
        answer = b""  # it ended without having read what it was sent (unix(7))
    if answer != b"k":
        raise BottleError("the gate refused the bottle's listeners", why="it closed the registration")
    registration.close()
