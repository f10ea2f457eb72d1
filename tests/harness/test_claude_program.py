from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest

from claude_bottle.errors import EnvironmentLacks
from claude_bottle.harness import claude_program
from claude_bottle.harness.base import Program

ARCHITECTURE = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]


@pytest.fixture
def binary(program: Program) -> Path:
    """The real native binary."""
    return Path(program.mounts[0][0])


@pytest.fixture
def path_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


def test_a_link_into_a_version_directory_is_resolved_to_the_binary(path_dir: Path, binary: Path) -> None:
    versions = path_dir.parent / "share" / "versions"
    versions.mkdir(parents=True)
    (versions / "current").symlink_to(binary)
    (path_dir / "claude").symlink_to(versions / "current")
    found = claude_program.on_path()
    assert found is not None
    assert found.mounts == ((str(binary), "/opt/claude/claude"),)
    assert re.fullmatch(r"\d+\.\d+\.\d+", found.version)


@pytest.mark.parametrize("layout", ["nested", "hoisted"])
def test_the_npm_launcher_is_resolved_to_the_platform_package(path_dir: Path, binary: Path, layout: str) -> None:
    modules = path_dir.parent / "lib" / "node_modules"
    launcher = modules / "@anthropic-ai" / "claude-code" / "cli.js"
    launcher.parent.mkdir(parents=True)
    launcher.write_text("#!/usr/bin/env node\n")
    launcher.chmod(0o755)
    (path_dir / "claude").symlink_to(launcher)
    base = launcher.parent / "node_modules" if layout == "nested" else modules
    native = base / "@anthropic-ai" / f"claude-code-linux-{ARCHITECTURE}" / "claude"
    native.parent.mkdir(parents=True)
    try:
        os.link(binary, native)
    except OSError:
        native.symlink_to(binary)
    found = claude_program.on_path()
    assert found is not None
    assert os.path.samefile(found.mounts[0][0], binary)


@pytest.mark.parametrize("content", [b"#!/bin/sh\necho 9.9.9\n", b"\x7fELF not really", b""])
def test_what_is_not_a_runnable_native_binary_is_passed_over(path_dir: Path, content: bytes) -> None:
    (path_dir / "claude").write_bytes(content)
    (path_dir / "claude").chmod(0o755)
    assert claude_program.on_path() is None


def test_another_program_of_that_name_is_passed_over(path_dir: Path) -> None:
    (path_dir / "claude").symlink_to("/bin/cat")
    assert claude_program.on_path() is None


def test_nothing_on_path_is_no_error(path_dir: Path) -> None:
    assert claude_program.on_path() is None


def test_no_program_in_tools_is_no_error_to_find_but_one_to_require(tmp_path: Path) -> None:
    assert claude_program.in_tools(tmp_path) is None
    with pytest.raises(EnvironmentLacks):
        claude_program.require_runnable(tmp_path)
