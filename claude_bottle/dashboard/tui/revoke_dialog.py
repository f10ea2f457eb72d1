"""The dialog that takes a grant back: all of it, and a key that ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from claude_bottle.dashboard.grants import text
from claude_bottle.dashboard.lines import DIM, line
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.dialog import Dialog
from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.decide import take_back


class RevokeDialog(Dialog):
    keys: ClassVar[dict[str, str]] = {"y": "revoke it"}

    def __init__(self, paths: Paths, identity: str, view: Mapping[str, Any], marker: str) -> None:
        super().__init__(f"revoke {view.get('id')}", marker)
        self._paths, self._identity, self._view = paths, identity, view

    def on_mount(self) -> None:
        super().on_mount()
        self.put([*text(self._identity, self._view), line(""), line("what goes on by it is cut at once", DIM)])

    def chosen(self, key: str) -> None:
        self.over = "asking the keeper …"
        self.say()

        async def revoke() -> None:
            try:
                await aside(lambda: take_back(str(self._view.get("id")), self._paths))
            except (BottleError, OSError) as problem:
                self.over = f"nothing was revoked: {problem}"
            else:
                self.over = "revoked"
            self.say()

        self.run_worker(revoke())
