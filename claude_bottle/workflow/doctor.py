"""What works here: each backend's own checks, each agent program, the state root. Changes nothing."""

from __future__ import annotations

import os
import platform
from typing import Any

from claude_bottle import __version__
from claude_bottle.backend.registry import TABLE, get_bottle_backend
from claude_bottle.errors import BottleError
from claude_bottle.harness import TABLE as HARNESSES
from claude_bottle.harness import get
from claude_bottle.state.paths import Paths


def examine(paths: Paths | None = None) -> dict[str, Any]:
    """{"ok": bool, "sections": [{"name", "checks": [{"name", "state", "detail", "fix"}]}]}; ok when a bottle can run."""
    paths = paths or Paths.default()
    backends = {name: _backend(name) for name in sorted(TABLE)}
    usable = [name for name, checks in backends.items() if all(check["state"] in ("ok", "weaker") for check in checks)]
    ours = [_python(), _root(paths)]
    sections: list[dict[str, Any]] = [{"name": f"claude-bottle {__version__}", "checks": ours}]
    sections += [{"name": f"backend {name}", "checks": checks} for name, checks in backends.items()]
    sections.append({"name": "agent programs", "checks": [_harness(name, paths) for name in HARNESSES]})
    broken = any(check["state"] == "missing" for check in ours)
    return {"ok": bool(usable) and not broken, "backends": usable, "sections": sections}


def _backend(name: str) -> list[dict[str, str]]:
    try:
        return [check.to_dict() for check in get_bottle_backend(name).check()]
    except BottleError as problem:  # such as settings that cannot be read
        return [_check(name, "missing", ": ".join(filter(None, (problem.what, problem.why))), problem.do)]


def _check(name: str, state: str, detail: str, fix: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "detail": detail, "fix": fix}


def _python() -> dict[str, str]:
    return _check("python", "ok", platform.python_version())


def _root(paths: Paths) -> dict[str, str]:
    try:
        there = paths.check_root()
    except BottleError as problem:
        return _check("state root", "missing", f"{problem.what}: {problem.why}", problem.do)
    place = next(one for one in (paths.root, *paths.root.parents) if one.is_dir())
    if not os.access(place, os.W_OK | os.X_OK):  # also where its file system is read-only
        fix = "set CLAUDE_BOTTLE_HOME to a directory of your own"
        return _check("state root", "missing", f"cannot write to {place}", fix)
    return _check("state root", "ok", f"{paths.root}" + ("" if there else " (made at first use)"))


def _harness(name: str, paths: Paths) -> dict[str, str]:
    try:
        program = get(name).find(paths)
    except BottleError as problem:
        return _check(name, "weaker", problem.what, problem.do)
    if program is None:
        return _check(name, "weaker", "not installed: the first start installs it")
    return _check(name, "ok", program.version or program.argv0)
