"""A home, a state root and a project of one's own for each test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.manifest import Manifest
from claude_bottle.manifest.problems import ManifestProblems
from claude_bottle.state.paths import Paths

NAME = "claude-bottle.json"


class Place:
    """Where a manifest is looked for: `home` and `project` write one and return its path."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home_dir, self.project_dir = base / "home", base / "src" / "shop"
        self.home_dir.mkdir()
        self.project_dir.mkdir(parents=True)
        self.paths = Paths(base / "state")
        self.paths.ensure_root()

    def home(self, content: Any) -> Path:
        return self._write(self.paths.root / NAME, content)

    def project(self, content: Any) -> Path:
        return self._write(self.project_dir / NAME, content)

    def resolve(self, cwd: Path | None = None) -> Manifest:
        return Manifest.resolve(cwd or self.project_dir, paths=self.paths)

    def problems(self, content: Any) -> list[str]:
        """What is wrong with a project manifest, one line each, from the column on."""
        self.project(content)
        with pytest.raises(ManifestProblems) as refused:
            self.resolve()
        return [str(problem).split(NAME + ":", 1)[1] for problem in refused.value.problems]

    def _write(self, path: Path, content: Any) -> Path:
        if isinstance(content, dict | list):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.setenv("HOME", str(made.home_dir))
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(made.paths.root))
    return made


@pytest.fixture
def bottle_problems(place: Place) -> Callable[..., list[str]]:
    """Problems of one bottle called `web`, given by its keys."""

    def judge(**keys: Any) -> list[str]:
        return place.problems({"version": 1, "bottles": {"web": keys}})

    return judge
