"""What a launch loads is most of what it costs: see docs/performance.md for each of these."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest

from claude_bottle.digests import sha256
from claude_bottle.patterns import regex

OFF_THE_WAY = {
    "asyncio", "cryptography", "dataclasses", "h11", "hashlib", "importlib.resources", "jsonschema", "shutil", "ssl",
    "subprocess", "tempfile", "zipfile",
}  # fmt: skip
ON_THE_WAY = (
    "claude_bottle.cli.run", "claude_bottle.workflow.start", "claude_bottle.workflow.piping", "claude_bottle.manifest.build",
    "claude_bottle.harness.shell", "claude_bottle.keeper.main", "claude_bottle.backend.bubblewrap.backend",
    "claude_bottle.backend.docker.backend", "claude_bottle.backend.docker.request", "claude_bottle.backend.docker.endpoint",
)  # fmt: skip


def test_a_launch_loads_nothing_that_can_wait_or_be_done_without() -> None:
    code = f"import sys, {', '.join(ON_THE_WAY)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "claude_bottle.workflow.start" in loaded
    assert not OFF_THE_WAY & set(loaded)


def test_a_command_looks_for_no_catalogue_of_its_parsers_words() -> None:
    code = "import sys; from claude_bottle.cli import load; load('run'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "argparse" in loaded
    assert "locale" not in loaded


def test_an_engine_is_asked_before_what_is_only_needed_then_is_loaded() -> None:
    """The rest is loaded while the engine works (`workflow.boot.order`)."""
    before = [name for name in ON_THE_WAY if not name.startswith(("claude_bottle.keeper", "claude_bottle.workflow.piping"))]
    code = f"import sys, {', '.join(before)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    keepers = {name for name in loaded if name.startswith("claude_bottle.keeper.")}
    assert keepers == {"claude_bottle.keeper.signals", "claude_bottle.keeper.undo"}
    assert not {"csv", "claude_bottle.workflow.secrets", "claude_bottle.workflow.gates"} & set(loaded)


def test_what_stands_for_a_slower_one_does_the_same() -> None:
    assert sha256(b"x").hexdigest() == hashlib.sha256(b"x").hexdigest()
    late, usual = regex(r"(?P<letter>[a-z])x", re.IGNORECASE), re.compile(r"(?P<letter>[a-z])x", re.IGNORECASE)
    for found in (late.fullmatch("AX"), late.search("..bX"), late.match("axe")):
        assert found and found["letter"] in "Aba"
    assert (late.sub("", "1AX2"), late.pattern, late.groupindex) == ("12", usual.pattern, usual.groupindex)
    with pytest.raises(re.error):
        regex("(").fullmatch("")
