"""The dialog for a change to the manifest: the difference, read to its end, and a key that writes exactly that."""

from __future__ import annotations

from typing import ClassVar

from claude_bottle.dashboard.lines import BAD, DIM, GOOD, Line, line, wrapped
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.dialog import Dialog
from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.merging import Proposal, merge

_TONES = {"+": GOOD, "-": BAD, "@": DIM}
WIDTH = 74


class PatchDialog(Dialog):
    keys: ClassVar[dict[str, str]] = {"y": "write it"}

    def __init__(self, paths: Paths, proposal: Proposal, marker: str) -> None:
        super().__init__(f"the manifest of {proposal.identity}", marker)
        self._paths, self._proposal = paths, proposal

    def on_mount(self) -> None:
        super().on_mount()
        self.put(patch_lines(self._proposal))

    def chosen(self, key: str) -> None:
        self.over = "writing …"
        self.say()

        async def write() -> None:
            try:
                await aside(lambda: merge(self._proposal, self._paths))
            except (BottleError, OSError) as problem:
                self.over = f"nothing was written: {problem}"
            else:
                self.over = "written: the next start of this agent has it"
            self.say()

        self.run_worker(write())


def patch_lines(proposal: Proposal) -> list[Line]:
    """The difference; a line that is too long goes on below."""
    return [
        line(text, _TONES.get(said[:1], ""))
        for said in proposal.diff
        for text in wrapped(said, WIDTH, rest="  ")
    ]  # fmt: skip
