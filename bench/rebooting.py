"""What a granted tool costs once its layer is built: from the approval until the same conversation goes on.

Real Claude Code in a real session, against the scripted model: the clock runs from the operator's word to the keeper until
the model has been sent the note, so agent, bottle and gate have ended and begun again in between. Each turn is a bottle of
its own; the layer is built by the first, which does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import containers, peers
from bench.figures import Ratio, Report, figure
from bench.product import ROOT

GOALS = {"bubblewrap": 3.0, "docker": 6.0}
FRAGMENT = "RUN echo '#!/bin/sh' > /usr/local/bin/brandnew && chmod 755 /usr/local/bin/brandnew\n"
_PATIENCE = 120.0


def measure(report: Report, scratch: Path, runs: int) -> None:
    for backend, goal in GOALS.items():
        said = _base(backend)
        if isinstance(said, peers.Missing):
            report.missing.append(f"reboot on {backend}: {said.why}")
            continue
        place = scratch / f"reboot-{backend}"
        place.mkdir()
        taken = _turns(place, backend, said, runs)
        row = figure(f"capability, built before, until the conversation goes on: {backend}", taken, "s")
        report.sections.setdefault("a granted tool", []).append(row)
        report.ratios.append(Ratio(f"cached capability to prompt again, {backend}", row.median, goal, unit="s"))


def _base(backend: str) -> str | peers.Missing:
    if backend == "docker":
        found = peers.docker()
        return found if isinstance(found, peers.Missing) else containers._base()
    return ""


def _turns(place: Path, backend: str, base: str, runs: int) -> list[float]:
    from tests.e2e.project import Project, submit
    from tests.registries import Registries

    tools = Path(os.environ.get("CLAUDE_BOTTLE_TEST_TOOLS") or Path.home() / ".cache" / "claude-bottle-test-tools")
    registries = Registries(place / "registries")
    registries.python("brandnew")
    project = Project(place, tools)
    if base:
        project.env |= {"CLAUDE_BOTTLE_BACKEND": "docker"}
        project.settings("image.json", {"base": base})
    said, more = json.loads((project.home / "config.json").read_text()), registries.settings()
    project.settings("config.json", {**said, **more, "upstreams": {**said["upstreams"], **more["upstreams"]}})
    project.trust()
    capability: dict[str, Any] = {"dockerfile": FRAGMENT} if base else {"pip": ["brandnew"]}
    taken = []
    try:
        for _turn in range(runs + 1):
            child = project.session()
            project.ask(child, "remember")
            before = len(project.model.turns)
            words = [sys.executable, "-m", "tests.e2e.granting", project.only()["identity"], json.dumps(capability)]
            granting = subprocess.Popen(words, cwd=ROOT, env=project.env, stdout=subprocess.PIPE, text=True)
            project.model.wait_for(lambda _, before=before: len(project.model.turns) > before, _PATIENCE)
            reached = time.clock_gettime(time.CLOCK_MONOTONIC)
            began = json.loads(granting.communicate()[0])["began"]
            taken.append(reached - began)
            submit(child, "/exit")
            child.wait()
    finally:
        project.close()
        registries.close()
        shutil.rmtree(place, ignore_errors=True)
    return taken[1:]

