"""The verbs that are about the manifest alone: check it, print its schema, begin one.

Functions return data; the CLI prints. `init` is the only one that writes: one new file in the working directory, and
the operator's trust in exactly that content, since what it grants was written by us at the operator's word.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.harness import TABLE as HARNESSES
from claude_bottle.manifest import Manifest, schema, starter
from claude_bottle.manifest.reading import NAME
from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.state.trust import Trust

__all__ = ["check", "init", "schema"]


def check(file: str | None = None, *, cwd: Path | None = None, paths: Paths | None = None) -> dict[str, Any]:
    """Judge the manifest of `cwd`, or `file` alone. {"ok", "sources", "bottles", "agents", "warnings", "consent",
    "lines" (the same for people, printable)}. ManifestProblems with everything that is wrong."""
    paths = paths or Paths.default()
    found = Manifest.load_file(file, paths=paths) if file else Manifest.resolve(cwd or Path.cwd(), paths=paths)
    warnings = [*found.warnings, *_warnings(found)]
    return {
        "ok": True,
        "sources": [source.to_dict() for source in found.sources],
        **{key: value for key, value in found.to_dict().items() if key != "version"},
        "warnings": warnings,
        "consent": None if found.consent is None else found.consent.to_dict(),
        "lines": _lines(found, warnings),
    }


def init(*, force: bool = False, cwd: Path | None = None, paths: Paths | None = None) -> Path:
    """Write the starter manifest into `cwd` and trust it. The path. BottleError when there is one already."""
    paths = paths or Paths.default()
    path = (cwd or Path.cwd()) / NAME
    if force:
        path.unlink(missing_ok=True)
    try:
        # O_EXCL follows no link and replaces nothing.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise BottleError(f"{path} is there already", do="edit it, or replace it: claude-bottle init --force") from None
    except OSError as problem:
        raise BottleError(f"cannot write {path}", why=os.strerror(problem.errno or 0)) from problem
    with os.fdopen(fd, "w", encoding="utf-8") as new:
        new.write(starter())
    consent = Manifest.resolve(path.parent, paths=paths).consent
    if consent is not None and consent.sha256 == sha256(starter().encode()).hexdigest():
        Trust(paths).remember(consent.path, consent.sha256, consent.grants)
    return path


def _warnings(found: Manifest) -> list[str]:
    """What is well said and still will not work on this host."""
    from claude_bottle.manifest.mounts import check_on_host

    lines = [
        f"agents.{agent.name}.harness: no harness is called {agent.harness}; there are {', '.join(sorted(HARNESSES))}"
        for agent in found.agents.values()
        if agent.harness not in HARNESSES
    ]
    for bottle in found.bottles.values():
        for mount in bottle.mounts:
            try:
                check_on_host(mount)
            except BottleError as problem:
                lines.append(f"bottles.{bottle.name}.mounts: {problem.what}: {problem.why}")
    return lines


def _lines(found: Manifest, warnings: list[str]) -> list[str]:
    lines = [f"{printable(str(source.path))}: ok ({source.kind})" for source in found.sources]
    lines += [
        f"agent {agent.name}: {agent.harness} in the bottle {agent.bottle}" for _, agent in sorted(found.agents.items())
    ]
    lines += [f"warning: {line}" for line in warnings]
    if found.consent is not None:
        lines.append("needs your consent before a start: claude-bottle trust")
    return [printable(line) for line in lines]
