"""What waits in a home for the next start is told, and the home is not trusted while looking."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.workflow.planted import planted


def test_an_ordinary_home_has_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text('{"hooks": {}, "theme": "dark"}')
    (tmp_path / ".claude.json").write_text('{"mcpServers": {}}')
    assert planted(tmp_path) == ()


def test_start_files_hooks_and_servers_are_named(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".bashrc").symlink_to("/nowhere")
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps({"hooks": {"Stop": []}}))
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"x": {}}}))
    (told,) = planted(tmp_path)
    assert told.endswith(": .bashrc, .claude/settings.json (hooks), .claude.json (mcpServers)")


@pytest.mark.parametrize("content", ["[" * 100_000, "{", '"hooks"', "\x00"])
def test_what_makes_no_sense_is_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / ".claude.json").write_text(content)
    assert planted(tmp_path) == ()


def test_neither_links_nor_pipes_are_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "settings.json").write_text(json.dumps({"hooks": {"Stop": [1]}}))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".claude").symlink_to(outside)
    os.mkfifo(home / ".claude.json")
    assert planted(home) == ()
