"""The host was upgraded since a bottle with tools ran: its layers are built anew for what the host is now, or it waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.project import Project
from tests.e2e.test_capability import ROOT, with_tools
from tests.e2e.tooling import project, registries
from tests.registries import Registries
from tests.waiting import SECONDS

__all__ = ["project", "registries"]
TURNS: list[dict[str, Any]] = []


def resumed(project: Project, release: Path, identity: str) -> subprocess.CompletedProcess[str]:
    """`resume` where the host is of that release."""
    words = [sys.executable, "-m", "tests.e2e.on_another_release", str(release), "resume", identity, "--yes", "--detach"]
    return subprocess.run(
        [*words, "--", "sleep", "600"], cwd=project.place, env={**project.env, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * SECONDS, check=False,
    )  # fmt: skip


def test_a_bottle_on_an_upgraded_host_gets_its_tools_anew_or_waits(
    project: Project, registries: Registries, tmp_path: Path
) -> None:
    with_tools(project, {"pip": ["brandnew"]})
    project.trust()
    assert project.run("run", "closed", "--keep", "--", "brandnew").stdout == "tool-of-the-layer\n"
    identity = project.only()["identity"]
    (first,) = os.listdir(project.home / "layers")
    release = tmp_path / "os-release"
    release.write_text("ID=some\nVERSION_ID=13\n")
    there, registries.files = registries.files, {}
    refused = resumed(project, release, identity)
    assert refused.returncode == 1
    assert "its layer pip brandnew is another than before" in refused.stdout
    assert "the layer could not be built" in refused.stderr
    assert os.listdir(project.home / "layers") == [first]
    assert project.only()["status"] == "preserved"
    registries.files = there
    done = resumed(project, release, identity)
    assert done.returncode == 0, done.stderr
    assert project.do("exec", identity, "--", "brandnew") == "tool-of-the-layer\n"
    assert len(os.listdir(project.home / "layers")) == 2
