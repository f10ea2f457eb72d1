"""A dashboard driven by key presses, and what stands on its screen. Whatever is waited for is on the screen or in the
keeper; nothing is waited for by time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from claude_bottle.dashboard.tui.app import Dashboard
from claude_bottle.dashboard.tui.dialog import Dialog
from claude_bottle.state.paths import Paths
from tests.waiting import SECONDS

# A key goes from the app to the widget that has the focus, and up again from one to the next: each has a queue of its own.
_HOPS = 10


class Driver:
    def __init__(self, app: Dashboard, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> str:
        """What stands there, as text."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.screen
            await self.pilot.pause(0.05)

    async def sees(self, *words: str) -> None:
        await self.until(lambda: all(word in self.screen for word in words))

    async def press(self, *keys: str) -> None:
        """One after the other, each once the one before has had its effect. The pilot alone goes on when this process was
        given no time for a moment: to it, that looks like having nothing more to do."""
        for key in keys:
            await self.pilot.press(key)
            for _ in range(_HOPS):
                await self.pilot._wait_for_screen()

    async def read_to_end(self, dialog: Dialog) -> None:
        """Screenful by screenful; from its beginning again where one was scrolled over before it was drawn."""
        while not dialog.deciding.complete:
            await self.press("home", *["space"] * (dialog.deciding.total // max(dialog.text.size.height - 1, 1) + 1))

    async def open_request(self) -> Dialog:
        """The first request in its dialog, armed."""
        await self.sees("waiting for you")
        await self.press("2")
        await self.sees("! waiting")
        await self.press("enter")
        return await self.armed()

    async def decide(self, key: str, condition: Callable[[], object]) -> None:
        """Press the key in the dialog that is open, once it would count, until it has. On a machine that stands still for a
        moment just then, a dialog takes no key, and that is right."""
        while not condition():
            dialog = await self.armed()
            await self.press(key)
            await self.until(lambda dialog=dialog: condition() or not dialog.deciding.pending)
            await self.until(lambda dialog=dialog: condition() or (self.app.screen is dialog and "ready" in self.screen))

    async def armed(self) -> Dialog:
        await self.until(lambda: isinstance(self.app.screen, Dialog) and "ready" in self.screen)
        assert isinstance(self.app.screen, Dialog)
        return self.app.screen


def drive(paths: Paths, scenario: Callable[[Driver], Awaitable[None]], size: tuple[int, int] = (80, 24)) -> None:
    async def run() -> None:
        app = Dashboard(paths)
        async with app.run_test(size=size) as pilot:
            await scenario(Driver(app, pilot))

    asyncio.run(run())
