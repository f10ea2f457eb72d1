"""Calls that may take long, beside the screen: in threads that the end of the dashboard does not wait for.

asyncio's own would be joined at exit, so a keeper that builds a tool, or hangs, would hold up whoever leaves.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def aside(call: Callable[[], T]) -> T:
    """What `call` returns or raises. It goes on when nobody waits for it any more; then it is forgotten."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(put: Callable[[Any], None], value: object) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if future.done() else put(value))
        except RuntimeError:
            pass  # the dashboard has ended

    def run() -> None:
        try:
            result = call()
        except BaseException as problem:
            deliver(future.set_exception, problem)
        else:
            deliver(future.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await future
