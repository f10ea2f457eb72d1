"""Warnings: each for what it is about, none for the ordinary."""

from __future__ import annotations

import pytest

from claude_bottle.model.changes import CredentialChange
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.supervise.cautions import Surroundings, cautions
from claude_bottle.supervise.lookalikes import looks_like, mixed_script
from tests.supervise.making import egress


def test_a_narrow_reading_request_for_an_ordinary_host_has_no_warning() -> None:
    assert cautions(egress("docs.rs", methods=("GET",), paths=("/api/**",)), Surroundings()) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "wide: any method and any path"),
        ({"methods": ("GET",)}, "wide: any path"),
        ({"methods": ("POST",), "paths": ("/x",)}, "it may write to docs.rs:443: POST"),
        ({"port": 5432, "tls": TUNNEL}, "is not inspected"),
        ({"port": 5432, "tls": TUNNEL}, "a new port: 5432"),
        ({"port": 80, "methods": ("GET",), "paths": ("/x",)}, "plain HTTP"),
    ],
)
def test_what_is_remarkable_is_said(rule: dict[str, object], words: str) -> None:
    assert any(words in said for said in cautions(egress("docs.rs", **rule), Surroundings()))


def test_a_port_that_is_open_already_is_not_new() -> None:
    said = cautions(egress("docs.rs", port=8443, methods=("GET",), paths=("/x",)), Surroundings(ports=(8443,)))
    assert said == []


def test_a_credential_that_goes_to_a_new_host_is_said_with_where_it_went_so_far() -> None:
    change = CredentialChange(Rule("uploads.example.net", methods=("GET",), paths=("/x",), credential="github"))
    assert "new to this bottle" in cautions(change, Surroundings())[0]
    around = Surroundings(bound={"github": (("api.github.com", 443),)})
    assert cautions(change, around) == [
        "the credential github goes to a new host, uploads.example.net:443 (so far only to api.github.com:443)"
    ]
    assert cautions(change, Surroundings(bound={"github": (("uploads.example.net", 443),)})) == []


def test_where_the_operators_settings_lead_a_place_is_said() -> None:
    around = Surroundings(upstreams={("docs.rs", 443): "10.0.0.5:443"})
    assert "leads docs.rs:443 to 10.0.0.5:443" in cautions(egress("docs.rs", methods=("GET",), paths=("/x",)), around)[0]


@pytest.mark.parametrize(
    ("host", "other"),
    [("githab.com", "github.com"), ("g1thub.com", "github.com"), ("rnicrosoft.com", "microsoft.com"),
     ("github.com.evil.io", "github.com"), ("github-com.evil.io", "github.com"), ("xn--80ak6aa92e.com", "apple.com"),
     ("gihtub.com", "github.com"), ("api.githb.com", "github.com")],
)  # fmt: skip
def test_a_host_that_looks_like_a_known_one_is_told_apart(host: str, other: str) -> None:
    assert looks_like(host, ["apple.com"]) == other


@pytest.mark.parametrize("host", ["github.com", "api.github.com", "docs.rs", "example.org", "internal.acme-tools.dev"])
def test_an_ordinary_host_looks_like_none(host: str) -> None:
    assert looks_like(host, ["apple.com"]) == ""


def test_scripts_that_no_writing_system_mixes_are_seen() -> None:
    assert mixed_script("аpple.com".encode("idna").decode())
    assert not mixed_script("münchen.de".encode("idna").decode())
    assert not mixed_script("日本語カナtest.jp".encode("idna").decode())


def test_an_international_name_is_shown_as_it_is_drawn() -> None:
    said = cautions(egress("münchen.de".encode("idna").decode(), methods=("GET",), paths=("/",)), Surroundings())
    assert said == ["international name: xn--mnchen-3ya.de is drawn as münchen.de"]
