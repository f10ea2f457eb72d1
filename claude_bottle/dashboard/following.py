"""One thread for each running bottle, which waits for what its keeper has to say about requests.

Keepers push, so nothing is polled; a thread, because a keeper that is busy may take a minute to greet and must hold up
neither the screen nor the other bottles. The threads only hand over what came (`say`); they die with the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper.client import Control, Message
from claude_bottle.state.paths import Paths
from claude_bottle.workflow import answering


class Said(NamedTuple):
    """What one keeper said: a `message`, or how the conversation ended (`problem` "" when the keeper just left)."""

    identity: str
    message: Message | None = None
    problem: str = ""


class Followers:
    def __init__(self, paths: Paths, say: Callable[[Said], None]) -> None:
        self._paths, self._say = paths, say
        self._threads: dict[str, threading.Thread] = {}

    def follow(self, identity: str) -> None:
        """Begin, unless there is somebody on it."""
        running = self._threads.get(identity)
        if running is None or not running.is_alive():
            thread = threading.Thread(target=self._listen, args=(identity,), name=f"follow {identity}", daemon=True)
            self._threads[identity] = thread
            thread.start()

    def _listen(self, identity: str) -> None:
        problem = ""
        try:
            with Control(self._paths, identity) as control:
                self._say(Said(identity, control.status()))
            for message in answering.follow(identity, self._paths):
                self._say(Said(identity, message))
        except BottleError as refused:
            problem = f"{refused.what}: {refused.why}" if refused.why else refused.what
        except OSError as failed:
            problem = failed.strerror or str(failed)
        self._say(Said(identity, None, problem))
