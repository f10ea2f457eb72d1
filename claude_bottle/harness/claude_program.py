"""Where the Claude Code program is on this host, and the version we pin.

Claude Code is one native binary; what is on PATH may be a link to it (the native installer) or a script
beside it (npm). Only the binary itself is ever shown to a bottle. Looking runs `claude --version` and nothing
else.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from claude_bottle import proc
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.harness import install
from claude_bottle.harness.base import PROGRAMS, Program

# The SHA-256 values are those of the program inside each platform's npm package; the wheel carries the same
# bytes.
PIN = install.Pin(
    name="claude",
    title="Claude Code",
    version="2.1.330",
    platforms={
        "x86_64": install.Platform(
            "@anthropic-ai/claude-code-linux-x64",
            "f390eaa0814e6a1bff74cbb47acb74cb9c89d30ced809fe0af5af00c7bfe8ebb",
        ),
        "aarch64": install.Platform(
            "@anthropic-ai/claude-code-linux-arm64",
            "6016f90cac783e367fb1aa97c768a2efb94a0128a5b46b70fb3d8fcbbd9dd444",
        ),
    },
    npm_member="package/claude",
    wheel="claude-agent-sdk==0.2.187",
    wheel_member="claude_agent_sdk/_bundled/claude",
    room=900 << 20,
)

TARGET = f"{PROGRAMS}/claude/claude"
# The first version whose flags and files we rely on have all been seen to work.
_OLDEST = (2, 1, 197)
# A quarter of a gigabyte may have to come from a slow disk; taken for broken, it would be installed again.
_VERSION_SECONDS = 120
_VERSION = re.compile(rb"(\d+)\.(\d+)\.(\d+)\b")
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


def on_path() -> Program | None:
    """The operator's own `claude`: resolved to its native binary, run once for its version, recent enough."""
    found = proc.find("claude")
    if found is None:
        return None
    for candidate in _candidates(Path(found).resolve()):
        version = _version(candidate)
        if version is not None and version >= _OLDEST:
            return _program(candidate, ".".join(map(str, version)))
    return None


def in_tools(tools: Path) -> Program | None:
    """The pinned program, if it was installed. Not run: its bytes were checked when it came in."""
    path = install.installed(PIN, tools)
    return _program(path.resolve(), PIN.version) if path is not None else None


def require_runnable(tools: Path) -> Program:
    """The pinned program, after a run of `--version`. EnvironmentLacks when this system cannot run it."""
    program = in_tools(tools)
    if program is None or _version(Path(program.mounts[0][0])) is None:
        raise EnvironmentLacks("Claude Code does not run on this system", why="it needs Linux with glibc")
    return program


def _program(path: Path, version: str) -> Program:
    return Program(version, ((str(path), TARGET),), TARGET)


def _candidates(path: Path) -> list[Path]:
    """Native binaries a resolved `claude` may stand for: itself, or the platform package npm put near the
    script."""
    package = f"claude-code-linux-{_ARCHITECTURES.get(platform.machine(), 'none')}"
    near = [folder / "@anthropic-ai" / package / "claude" for folder in _module_folders(path)]
    return [candidate for candidate in (path, *near) if _is_native(candidate)]


def _module_folders(path: Path) -> list[Path]:
    folders = [parent / "node_modules" for parent in path.parents]
    return folders + [parent for parent in path.parents if parent.name == "node_modules"]


def _is_native(path: Path) -> bool:
    try:
        if not path.is_file() or not os.access(path, os.X_OK):
            return False
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _version(path: Path) -> tuple[int, int, int] | None:
    """What the program says its version is; None if it does not run or says something else."""
    try:
        done = proc.run([str(path), "--version"], timeout=_VERSION_SECONDS)
    except (BottleError, OSError):  # OSError: a binary of another architecture
        return None
    match = _VERSION.match(done.out)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
