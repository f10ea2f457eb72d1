"""`init`, `manifest check` and `manifest schema`, as functions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest import Manifest, starter
from claude_bottle.state.paths import Paths
from claude_bottle.workflow import manifests


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Paths]:
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "project", Paths(tmp_path / "state")


def test_what_init_writes_is_trusted_at_once_and_only_as_it_is(where: tuple[Path, Paths]) -> None:
    cwd, paths = where
    path = manifests.init(cwd=cwd, paths=paths)
    assert path.read_text() == starter()
    assert Manifest.resolve(cwd, paths=paths).consent is None
    path.write_text(starter().replace("anthropic", "pypi"))
    assert Manifest.resolve(cwd, paths=paths).consent is not None


def test_init_replaces_nothing_unless_told_to(where: tuple[Path, Paths]) -> None:
    cwd, paths = where
    (cwd / "claude-bottle.json").write_text("mine")
    with pytest.raises(BottleError, match="is there already"):
        manifests.init(cwd=cwd, paths=paths)
    assert (cwd / "claude-bottle.json").read_text() == "mine"
    manifests.init(force=True, cwd=cwd, paths=paths)
    assert (cwd / "claude-bottle.json").read_text() == starter()


def test_init_writes_through_no_link(where: tuple[Path, Paths]) -> None:
    cwd, paths = where
    target = cwd.parent / "target"
    (cwd / "claude-bottle.json").symlink_to(target)
    with pytest.raises(BottleError):
        manifests.init(cwd=cwd, paths=paths)
    manifests.init(force=True, cwd=cwd, paths=paths)
    assert not target.exists()


def test_check_tells_what_there_is_and_what_will_not_work(where: tuple[Path, Paths]) -> None:
    cwd, paths = where
    content = {
        "version": 1,
        "bottles": {"b": {"mounts": [{"source": "/nonexistent/x", "target": "/srv/x"}]}},
        "agents": {"a": {"bottle": "b", "harness": "codex"}},
    }
    (cwd / "claude-bottle.json").write_text(json.dumps(content))
    found = manifests.check(cwd=cwd, paths=paths)
    assert found["ok"]
    assert found["consent"]["grants"] == ["b: read /nonexistent/x (as /srv/x)"]
    assert any("no harness is called codex" in line for line in found["warnings"])
    assert any("No such file" in line for line in found["warnings"])
    assert any("claude-bottle trust" in line for line in found["lines"])
    json.dumps(found)


def test_check_of_one_file_leaves_the_home_manifest_aside(where: tuple[Path, Paths]) -> None:
    cwd, paths = where
    (cwd.parent / "home" / "claude-bottle.json").write_text("broken")
    (cwd / "other.json").write_text(starter())
    assert manifests.check(str(cwd / "other.json"), paths=paths)["ok"]
    with pytest.raises(BottleError):
        manifests.check(cwd=cwd, paths=paths)


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(manifests.schema()))["$defs"]["BottleDoc"]["title"] == "bottle"
