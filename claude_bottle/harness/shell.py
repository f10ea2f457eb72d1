"""The harness for any command: `-- ARGS` is the command, and without one a shell.

It needs nothing but what the bottle shows of the host's /usr; it keeps no conversation, so resuming means the
same home. Everything here is pure but the look at which shells exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import EnvironmentLacks
from claude_bottle.harness.base import Launch, Program, Progress
from claude_bottle.harness.terminal_env import terminal_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.state.paths import Paths

_SHELLS = ("/bin/bash", "/bin/sh")


class Shell:
    name = "shell"
    supports_resume = True
    takes_skills = False

    def find(self, paths: Paths) -> Program | None:
        shell = next((path for path in _SHELLS if os.access(path, os.X_OK)), None)
        return Program("", (), shell) if shell else None

    def install(self, paths: Paths, progress: Progress) -> Program:
        raise EnvironmentLacks("no shell on this host", why=f"looked for {' and '.join(_SHELLS)}")

    def command(self, launch: Launch) -> list[str]:
        return list(launch.args) or [launch.program.argv0]

    def environment(self, launch: Launch) -> dict[str, str]:
        return {**terminal_environment(launch.terminal, tty=launch.tty), "SHELL": launch.program.argv0}

    def seed(self, home: Path, launch: Launch) -> None:
        """A shell starts in any home."""

    def transcript_files(self, home: Path, session_id: str) -> list[tuple[str, Path]]:
        return []

    def latest_session(self, home: Path) -> str | None:
        return None

    def ended_turns(self, lines: Iterable[bytes]) -> int:
        return 0

    def branch(self, home: Path, session_id: str, new_id: str) -> str:
        return session_id

    def placeholder_prefix(self, env_name: str) -> str:
        return ""


HARNESS = Shell()
