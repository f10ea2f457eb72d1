"""Grants for an agent, merged into the manifest that the operator keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError, Refused
from claude_bottle.keeper import inbox_file
from claude_bottle.keeper.leases import Leases
from claude_bottle.manifest import Manifest
from claude_bottle.manifest.problems import ManifestProblems
from claude_bottle.model.changes import change_from_dict
from claude_bottle.model.requests import Grant
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store
from claude_bottle.state.trust import Trust
from claude_bottle.supervise.inbox import Inbox
from claude_bottle.workflow.merging import merge, propose, show_and_merge

IDENTITY = "reviewer-p02mfe"
TEXT = """{
  "version": 1,

  "bottles": {
    "web": { "egress": [
        {"host": "docs.rs",   "methods": ["GET"]}
    ]}
  },
  "agents": {"reviewer": {"bottle": "web"}}
}
"""
HOST: dict[str, Any] = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"]}]}
ADDED = ',\n        {"host": "crates.io", "methods": ["GET"]}'
MERGED = TEXT.replace('["GET"]}', '["GET"]}' + ADDED, 1)


class Place:
    """A project, a state root, and a bottle of it that was kept with grants."""

    def __init__(self, tmp_path: Path) -> None:
        self.paths = Paths(tmp_path / "root")
        self.project = tmp_path / "project"
        self.project.mkdir()
        self.file = self.project / "claude-bottle.json"
        self.home = self.paths.root / "claude-bottle.json"
        record = BottleRecord(IDENTITY, "reviewer", "shell", "fake", status="preserved", created=timestamp(),
                              preserved=("operator",), cwd=str(self.project))  # fmt: skip
        Store(self.paths).create(record)

    def write(self, text: str = TEXT) -> None:
        self.file.write_text(text)

    def trust(self) -> None:
        consent = Manifest.resolve(self.project, paths=self.paths).consent
        assert consent is not None
        Trust(self.paths).remember(consent.path, consent.sha256, consent.grants)

    def grant(self, *changes: dict[str, Any], scope: str = "agent", credential: str = "") -> None:
        grants = tuple(
            Grant(f"g-0000000{index}", "q-00000000", change_from_dict(change), scope, timestamp(), credential=credential)
            for index, change in enumerate(changes)
        )
        inbox_file.save(self.paths, Inbox(IDENTITY, "l-1", grants=grants), Leases())

    @property
    def needs_consent(self) -> bool:
        return Manifest.resolve(self.project, paths=self.paths).consent is not None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Place(tmp_path)


def test_a_grant_becomes_a_line_and_every_other_byte_stays(place: Place) -> None:
    place.write()
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert place.file.read_text() == MERGED


def test_what_is_shown_is_a_unified_diff(place: Place) -> None:
    place.write()
    place.grant(HOST)
    diff = propose(IDENTITY, paths=place.paths).diff
    assert diff[0] == f"--- {place.file}" and diff[2].startswith("@@ ")
    assert '+        {"host": "crates.io", "methods": ["GET"]}' in diff


def test_a_trusted_file_stays_trusted(place: Place) -> None:
    place.write()
    place.trust()
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert not place.needs_consent


def test_a_file_that_was_not_trusted_is_not_by_merging(place: Place) -> None:
    place.write()
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert place.needs_consent


def test_a_file_that_has_changed_since_it_was_shown_is_refused(place: Place) -> None:
    place.write()
    place.trust()
    place.grant(HOST)
    proposal = propose(IDENTITY, paths=place.paths)
    other = TEXT.replace("docs.rs", "evil.example")
    place.write(other)
    with pytest.raises(Refused, match="not what was shown"):
        merge(proposal, place.paths)
    assert place.file.read_text() == other
    assert place.needs_consent


def test_a_link_put_in_the_files_place_is_not_written_through(place: Place, tmp_path: Path) -> None:
    place.write()
    place.grant(HOST)
    proposal = propose(IDENTITY, paths=place.paths)
    (tmp_path / "elsewhere").write_text(TEXT)
    place.file.unlink()
    place.file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BottleError):
        merge(proposal, place.paths)
    assert (tmp_path / "elsewhere").read_text() == TEXT


def test_the_mode_of_the_file_is_kept(place: Place) -> None:
    place.write()
    place.file.chmod(0o640)
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert place.file.stat().st_mode & 0o777 == 0o640


def test_a_bottle_of_the_home_manifest_is_edited_there(place: Place) -> None:
    place.home.write_text(TEXT)
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert place.home.read_text() == MERGED and not place.file.exists()


def test_where_a_project_narrows_the_homes_bottle_both_get_it(place: Place) -> None:
    place.home.write_text(TEXT)
    place.write()
    place.grant(HOST)
    proposal = propose(IDENTITY, paths=place.paths)
    merge(proposal, place.paths)
    assert len(proposal.patches) == 2
    assert place.home.read_text() == place.file.read_text() == MERGED
    rules = Manifest.resolve(place.project, paths=place.paths).bottles["web"].rules
    assert [rule.host for rule in rules] == ["docs.rs", "crates.io"]


def test_what_the_manifest_grants_already_changes_nothing(place: Place) -> None:
    place.write()
    place.grant({"kind": "egress", "rules": [{"host": "docs.rs", "methods": ["GET"], "paths": ["/x"]}]})
    assert propose(IDENTITY, paths=place.paths).patches == ()


def test_a_credential_is_defined_as_the_operators_settings_have_it(place: Place) -> None:
    definition = {"from": {"env": "GH"}, "env": "GITHUB_TOKEN", "header": "Authorization"}
    place.paths.config.write_text(json.dumps({"credentials": {"work": definition}}))
    place.paths.config.chmod(0o600)
    place.write()
    rule = {"host": "api.github.com", "paths": ["/repos/**"], "credential": "github"}
    place.grant({"kind": "credential", "rule": rule}, credential="work")
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    made = Manifest.resolve(place.project, paths=place.paths).bottles["web"]
    assert made.credentials["github"][0].source_detail == "GH"
    assert made.rules[-1].credential == "github"


def test_a_tool_becomes_a_capability_of_the_bottle(place: Place) -> None:
    place.write()
    place.grant({"kind": "capability", "capability": {"apt": ["ripgrep"]}})
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert '"capabilities": [{"apt": ["ripgrep"]}]' in place.file.read_text()
    (made,) = Manifest.resolve(place.project, paths=place.paths).bottles["web"].capabilities
    assert made.describe() == "apt ripgrep"
    assert propose(IDENTITY, paths=place.paths).patches == ()


def test_more_of_a_budget_raises_it(place: Place) -> None:
    place.write(TEXT.replace('"web": {', '"web": { "budget": {"egress_bytes": "50m"},'))
    place.grant({"kind": "budget", "egress_bytes": 14 << 20})
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert place.file.read_text() == TEXT.replace('"web": {', '"web": { "budget": {"egress_bytes": "64m"},')


def test_what_would_be_no_manifest_is_refused_before_anything_is_written(place: Place) -> None:
    place.write()
    rule = {"host": "api.github.com", "paths": ["/repos/**"], "credential": "nowhere"}
    place.grant({"kind": "credential", "rule": rule})
    with pytest.raises(ManifestProblems):
        propose(IDENTITY, paths=place.paths)
    assert place.file.read_text() == TEXT


def test_only_grants_for_the_agent_are_merged_unless_named(place: Place) -> None:
    place.write()
    place.grant(HOST, scope="until")
    with pytest.raises(BottleError, match="no grant for its agent"):
        propose(IDENTITY, paths=place.paths)
    assert propose(IDENTITY, ["g-00000000"], paths=place.paths).patches
    with pytest.raises(BottleError, match="no grant g-x"):
        propose(IDENTITY, ["g-x"], paths=place.paths)


def test_without_a_yes_nothing_is_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write()
    place.grant(HOST)
    monkeypatch.setattr("claude_bottle.workflow.merging.ask", lambda _question: False)
    with pytest.raises(Refused):
        show_and_merge(IDENTITY, [], paths=place.paths)
    assert place.file.read_text() == TEXT
    assert show_and_merge(IDENTITY, [], yes=True, paths=place.paths) == 0
    assert place.file.read_text() == MERGED


@pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: needs root")
def test_root_leaves_the_file_to_whom_it_belongs(place: Place) -> None:
    place.write()
    os.chown(place.project, 1234, 1234)
    os.chown(place.file, 1234, 1234)
    place.grant(HOST)
    merge(propose(IDENTITY, paths=place.paths), place.paths)
    assert (place.file.stat().st_uid, place.file.stat().st_gid) == (1234, 1234)
