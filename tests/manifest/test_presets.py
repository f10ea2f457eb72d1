"""Presets are data with a version: each loads, each is tight, and two of them hold a credential."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest.bottle import Bottle
from claude_bottle.manifest.preset_files import names, preset
from claude_bottle.model.policy import Policy
from tests.manifest.conftest import Place

ALL = ("anthropic", "crates", "debian", "github-read", "go", "npm", "pypi", "scripted-model")
MODELS = {"anthropic": "api.anthropic.com", "scripted-model": "model.bottle.test"}


def expanded(place: Place, name: str, **keys: Any) -> Bottle:
    place.home({"version": 1, "bottles": {"b": {"egress": [{"preset": name}], **keys}}})
    return place.resolve().bottles["b"]


def test_the_presets_of_the_contract_are_there() -> None:
    assert names() == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_preset_loads_and_says_where_its_rules_come_from(place: Place, name: str) -> None:
    bottle = expanded(place, name)
    data = preset(name)
    assert data is not None
    assert (data.preset, data.version) == (name, 1)
    assert data.summary
    assert bottle.rules
    assert {rule.origin for rule in bottle.rules} == {f"preset {name} v1"}
    Policy(bottle.rules)


@pytest.mark.parametrize("name", sorted(set(ALL) - set(MODELS)))
def test_registries_and_forges_are_read_only_and_without_credentials(place: Place, name: str) -> None:
    for rule in expanded(place, name).rules:
        assert rule.credential is None
        assert rule.tls == "inspect"
        if rule.paths != ("/*/*/git-upload-pack",):
            assert set(rule.methods) == {"GET", "HEAD"}


@pytest.mark.parametrize("name", MODELS)
def test_case_58_a_model_preset_grants_messages_and_nothing_else(place: Place, name: str) -> None:
    host, policy = MODELS[name], Policy(expanded(place, name).rules)

    def allowed(method: str, path: str) -> bool:
        return policy.request(host, 443, method, path, tls=True).allow

    assert allowed("POST", "/v1/messages")
    assert allowed("POST", "/v1/messages/count_tokens")
    assert allowed("HEAD", "/")
    for method, path in (
        ("GET", "/"),
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/"),
        ("GET", "/v1/organizations/me"),
        ("POST", "/api/oauth/claude_cli/create_api_key"),
        ("DELETE", "/v1/messages"),
    ):
        assert not allowed(method, path), (method, path)
    assert not policy.connect(host, 80).allow


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({"ANTHROPIC_API_KEY": "a"}, "x-api-key"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "b"}, "Authorization"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "b", "ANTHROPIC_API_KEY": "a"}, "x-api-key"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "b", "ANTHROPIC_API_KEY": ""}, "Authorization"),
    ],
)
def test_the_anthropic_credential_is_the_one_that_is_set(place: Place, environ: dict[str, str], header: str) -> None:
    bottle = expanded(place, "anthropic")
    (spec,) = bottle.choose(environ)
    assert (spec.name, spec.header) == ("anthropic", header)
    assert bottle.places(spec.name) == (("api.anthropic.com", 443),)


def test_without_either_variable_the_error_names_both(place: Place) -> None:
    with pytest.raises(BottleError) as missing:
        expanded(place, "anthropic").choose({})
    assert missing.value.exit_code == 1
    text = json.dumps(missing.value.to_dict())
    assert "ANTHROPIC_API_KEY" in text
    assert "CLAUDE_CODE_OAUTH_TOKEN" in text


def test_a_bottle_may_bring_its_own_source_for_a_presets_credential(place: Place) -> None:
    own = {"from": {"file": "/srv/key"}, "env": "ANTHROPIC_API_KEY", "header": "x-api-key"}
    (spec,) = expanded(place, "anthropic", credentials={"anthropic": own}).choose({})
    assert (spec.source, spec.source_detail) == ("file", "/srv/key")


def test_the_scripted_model_sets_its_base_url(place: Place) -> None:
    bottle = expanded(place, "scripted-model")
    assert bottle.env["ANTHROPIC_BASE_URL"] == "https://model.bottle.test"
    (spec,) = bottle.choose({"SCRIPTED_MODEL_KEY": "k"})
    assert (spec.env, spec.header) == ("ANTHROPIC_API_KEY", "x-api-key")


def test_the_same_preset_twice_grants_the_same_once(place: Place) -> None:
    place.home({"version": 1, "bottles": {"b": {"egress": [{"preset": "pypi"}, {"preset": "pypi"}]}}})
    assert len(place.resolve().bottles["b"].rules) == 2
