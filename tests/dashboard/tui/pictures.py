"""The screens of docs/dashboard.md, as text, from a real dashboard over sample requests.

`python -m tests.dashboard.tui.pictures` writes them; a test compares."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from claude_bottle.state.paths import Paths
from tests.dashboard.keepers import FakeKeeper
from tests.dashboard.tui.drive import Driver, drive

PAGE = Path(__file__).resolve().parents[3] / "docs" / "dashboard.md"
_BLOCK = re.compile(r"(<!-- screen: (\w+) -->\n```\n).*?(```\n)", re.DOTALL)
CRATES = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}]}
BUDGET = {"kind": "budget", "egress_bytes": 10 << 20}


def page() -> str:
    """The whole of docs/dashboard.md, its screens as they are."""
    shown = screens()
    return _BLOCK.sub(lambda found: f"{found[1]}{shown[found[2]]}{found[3]}", PAGE.read_text())


def screens() -> dict[str, str]:
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        paths = Paths(Path(place) / "root")
        paths.ensure_root()
        (paths.root / "marker").write_text("violet-otter\n")
        (paths.root / "marker").chmod(0o600)
        keepers = FakeKeeper(paths, "reviewer-p02mfe"), FakeKeeper(paths, "implementer-k3x9qa")
        try:
            _ask(*keepers)

            async def scenario(at: Driver) -> None:
                await at.sees("2 waiting for you")
                await at.press("2")
                await at.sees("! waiting")
                made["requests"] = _tidy(at.screen)
                await at.press("enter")
                await at.armed()
                made["dialog"] = _tidy(at.screen)

            drive(paths, scenario)
        finally:
            for keeper in keepers:
                keeper.close()
    return made


def _ask(reviewer: FakeKeeper, implementer: FakeKeeper) -> None:
    reviewer.ask(
        1, CRATES, created="2026-01-05T09:41:00Z", summary="crates.io", lines=["+ GET  https://crates.io/api/**"],
        reach=["+ crates.io:443 GET /api/**", "  api.anthropic.com:443 any method /v1/messages with anthropic"],
        reason="cargo wants the index of the registry, or the build stops",
    )  # fmt: skip
    implementer.ask(2, BUDGET, created="2026-01-05T09:44:00Z", title="more of its budget", summary="10.0 MiB more egress")
    reviewer.ask(3, CRATES, created="2026-01-05T08:12:00Z", state="rejected", summary="*.crates.io")


def _tidy(screen: str) -> str:
    """Without the empty lines of the terminal's rest."""
    lines = [line.rstrip() for line in screen.split("\n")]
    found: list[str] = []
    for line in lines:
        if line or (found and found[-1]):
            found.append(line)
    return "\n".join(found).strip("\n") + "\n"


if __name__ == "__main__":
    os.environ.pop("NO_COLOR", None)
    PAGE.write_text(page())
