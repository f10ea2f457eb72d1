"""The setting `registries`: plain addresses only, every problem told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.config import Registry, Settings
from claude_bottle.state.paths import Paths


def load(root: Path, said: object) -> Settings:
    paths = Paths(root / "state")
    paths.ensure_root()
    paths.config.write_text(json.dumps({"registries": said}))
    paths.config.chmod(0o600)
    return Settings.load(paths)


def test_a_mirror_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    apt = {"url": "https://apt.test/debian", "suites": ["bookworm"], "components": ["main"], "keyring": str(tmp_path / "key")}
    found = load(tmp_path, {"apt": apt, "pip": {"url": "http://pypi.test:8080/simple"}}).registries
    assert found["apt"] == Registry("https://apt.test/debian", ("bookworm",), ("main",), str(tmp_path / "key"))
    assert found["apt"].place() == ("apt.test", 443)
    assert found["pip"].place() == ("pypi.test", 8080)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], "expected an object"), ({"brew": {"url": "https://x.test"}}, "registries.brew: unknown key"),
        ({"pip": "https://x.test"}, "expected an object"), ({"pip": {}}, "url"), ({"pip": {"url": "ftp://x.test"}}, "url"),
        ({"pip": {"url": "https://user@x.test"}}, "url"), ({"pip": {"url": "https://x.test/a b"}}, "url"),
        ({"pip": {"url": "https://x.test/'; rm"}}, "url"), ({"pip": {"url": "https://x.test\n"}}, "url"),
        ({"pip": {"url": "https://x.test", "suites": ["a"]}}, "registries.pip.suites: unknown key"),
        ({"apt": {"url": "https://x.test"}}, "suites"), ({"apt": {"url": "https://x.test", "suites": ["-o"]}}, "plain words"),
        ({"apt": {"url": "https://x.test", "suites": ["a"], "keyring": "/no/such"}}, "no file"),
    ],
    ids=lambda said: str(said)[:40],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, said: object, words: str) -> None:
    with pytest.raises(BottleError) as told:
        load(tmp_path, said)
    assert words in told.value.why
