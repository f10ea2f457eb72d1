"""The trust store: bound to path and content, private, whole, and refused when it cannot be understood."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths
from claude_bottle.state.trust import Trust

A, B = "a" * 64, "b" * 64
FILE = Path("/src/shop/claude-bottle.json")


@pytest.fixture
def trust(paths: Paths) -> Trust:
    return Trust(paths)


def test_nothing_is_trusted_at_first_and_asking_makes_nothing(trust: Trust, paths: Paths) -> None:
    assert not trust.is_trusted(FILE, A)
    assert trust.previous(FILE) is None
    assert not paths.root.exists()


def test_case_127_trust_is_for_one_content_at_one_path(trust: Trust) -> None:
    trust.remember(FILE, A, ["web: reach a.example.com"])
    assert trust.is_trusted(FILE, A)
    assert not trust.is_trusted(FILE, B)
    assert not trust.is_trusted(FILE.with_name("other.json"), A)


def test_a_new_consent_replaces_the_old_one(trust: Trust) -> None:
    trust.remember(FILE, A, ["one"])
    trust.remember(FILE, B, ["two"])
    assert not trust.is_trusted(FILE, A)
    found = trust.previous(FILE)
    assert found is not None
    assert (found.sha256, found.grants) == (B, ("two",))
    assert found.at.endswith("+00:00")


def test_trust_can_be_taken_back(trust: Trust) -> None:
    trust.remember(FILE, A, [])
    assert trust.forget(FILE)
    assert not trust.is_trusted(FILE, A)
    assert not trust.forget(FILE)


def test_a_link_to_a_file_is_that_file(trust: Trust, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    trust.remember(tmp_path / "link", A, [])
    assert trust.is_trusted(tmp_path / "real", A)


def test_the_file_is_private(trust: Trust, paths: Paths) -> None:
    trust.remember(FILE, A, [])
    assert stat.S_IMODE(os.stat(paths.trust).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(paths.root).st_mode) == 0o700


def test_consents_given_at_once_are_all_kept(trust: Trust) -> None:
    files = [Path(f"/src/{number}/claude-bottle.json") for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: trust.remember(file, A, []), files))
    assert all(trust.is_trusted(file, A) for file in files)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "{}", '{"schema": 1}', '{"schema": 1, "trusted": []}', '{"schema": "1", "trusted": {}}',
        '{"schema": 1, "trusted": {"/a": {}}}', '{"schema": 1, "trusted": {"/a": {"sha256": 1, "grants": [], "at": ""}}}',
        '{"schema": 1, "trusted": {"/a": {"sha256": "a", "grants": [1], "at": ""}}}',
        '{"schema": 1, "trusted": {"/a": {"sha256": "a", "grants": "x", "at": ""}}}',
    ],
)  # fmt: skip
def test_a_damaged_store_is_refused_and_kept(trust: Trust, paths: Paths, content: str) -> None:
    paths.ensure_root()
    paths.trust.write_text(content)
    paths.trust.chmod(0o600)
    for attempt in (lambda: trust.is_trusted(FILE, A), lambda: trust.remember(FILE, A, [])):
        with pytest.raises(BottleError):
            attempt()
    assert paths.trust.read_text() == content


def test_a_newer_store_is_refused_with_the_remedy(trust: Trust, paths: Paths) -> None:
    paths.ensure_root()
    paths.trust.write_text(json.dumps({"schema": 2, "trusted": {}}))
    paths.trust.chmod(0o600)
    with pytest.raises(BottleError) as refused:
        trust.is_trusted(FILE, A)
    assert "upgrade" in refused.value.do


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_store_others_may_write_to_is_refused(trust: Trust, paths: Paths, mode: int) -> None:
    trust.remember(FILE, A, [])
    paths.trust.chmod(mode)
    with pytest.raises(BottleError):
        trust.is_trusted(FILE, A)


def test_a_link_in_its_place_is_refused(trust: Trust, paths: Paths, tmp_path: Path) -> None:
    trust.remember(FILE, A, [])
    os.rename(paths.trust, tmp_path / "elsewhere")
    paths.trust.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BottleError):
        trust.is_trusted(FILE, A)
