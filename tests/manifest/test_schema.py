"""The exported schema, its words and docs/manifest.md say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

from jsonschema import Draft202012Validator

from claude_bottle.manifest import schema, starter
from claude_bottle.manifest.preset_files import names
from claude_bottle.manifest.schema import WORDS
from tests.manifest.conftest import Place

DOCS = Path(__file__).resolve().parents[2] / "docs" / "manifest.md"


def test_the_schema_is_valid_and_every_key_has_words() -> None:
    made = schema()
    Draft202012Validator.check_schema(made)
    keys = {f"{kind}.{key}" for kind, one in made["$defs"].items() for key in one["properties"]}
    assert keys == set(WORDS)


def test_the_starter_is_valid_and_loads_with_its_two_agents(place: Place) -> None:
    Draft202012Validator(schema()).validate(json.loads(starter()))
    place.project(starter())
    found = place.resolve()
    assert {name: agent.harness for name, agent in found.agents.items()} == {"claude": "claude", "shell": "shell"}
    assert found.bottles["offline"].rules == ()
    assert found.warnings == ()


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    validator = Draft202012Validator(schema())
    for rule in ({}, {"preset": "a", "host": "b"}, {"host": "a", "methods": []}):
        assert not validator.is_valid({"version": 1, "bottles": {"b": {"egress": [rule]}}})


def test_the_documentation_has_every_key_with_the_schemas_words() -> None:
    documented = dict(re.findall(r"^\| `([^`|]+)` \| (.+) \|$", DOCS.read_text(), re.MULTILINE))
    wanted = {f"{TABLES[kind]}{key}": words for (kind, key), words in
              ((tuple(name.split(".", 1)), words) for name, words in WORDS.items())}  # fmt: skip
    assert {key: documented.get(key) for key in wanted} == wanted
    assert {name for name in names() if f"preset:{name}" not in documented} == set()


TABLES = {
    "ManifestDoc": "", "BottleDoc": "bottles.NAME.", "AgentDoc": "agents.NAME.", "RuleDoc": "egress[].",
    "CredentialDoc": "credentials.NAME.", "FromDoc": "from.", "WorkspaceDoc": "workspace.", "MountDoc": "mounts[].",
    "ImageDoc": "image.", "LimitsDoc": "limits.", "CapabilityDoc": "capabilities[].", "BudgetDoc": "budget.",
    "GitDoc": "git.", "SshDoc": "git.ssh.", "CheckpointsDoc": "checkpoints.",
}  # fmt: skip


def test_every_example_of_the_documentation_loads(place: Place) -> None:
    blocks = re.findall(r"^```json\n(.+?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        place.project(block)
        place.resolve()
