"""The credentials of config.json, in the manifest's language."""

from __future__ import annotations

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest.offered import chosen, offered

GITHUB = {"from": {"env": "GITHUB_TOKEN"}, "env": "GITHUB_TOKEN", "header": "Authorization", "format": "Bearer {secret}"}


def test_they_are_read_as_in_a_manifest() -> None:
    found = offered({"github": GITHUB, "work": {"one_of": [GITHUB, {**GITHUB, "from": {"file": "/etc/token"}}]}})
    assert found["github"][0].header == "Authorization"
    assert [one.source for one in found["work"]] == ["env", "file"]


def test_the_first_alternative_that_is_there_is_chosen() -> None:
    specs = offered({"work": {"one_of": [GITHUB, {**GITHUB, "from": {"env": "OTHER"}}]}})["work"]
    assert chosen(specs, {"OTHER": "x"}).source_detail == "OTHER"
    assert chosen(specs, {"OTHER": "x", "GITHUB_TOKEN": "y"}).source_detail == "GITHUB_TOKEN"
    assert chosen(specs, {}).source_detail == "OTHER"


@pytest.mark.parametrize(
    "one",
    [7, {}, {**GITHUB, "more": 1}, {**GITHUB, "header": "Host"}, {**GITHUB, "from": {}}, {**GITHUB, "env": "HOME"},
     {**GITHUB, "format": "Bearer"}, {**GITHUB, "from": {"command": []}}],
)  # fmt: skip
def test_everything_wrong_is_said_with_its_place(one: object) -> None:
    with pytest.raises(BottleError) as refused:
        offered({"good": GITHUB, "bad": one, "also bad!": GITHUB})
    assert "credentials.bad" in refused.value.why
    assert "credentials.also bad!" in refused.value.why
    assert "credentials.good" not in refused.value.why
