"""Credentials: specs without secrets, secrets that do not show themselves, placeholders nobody can guess."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret, new_placeholder

CANARY = "sk-canary-5up3r-s3cr3t"
SPEC = CredentialSpec("github", "env", "GH_TOKEN", "GITHUB_TOKEN", "Authorization", "Bearer {secret}")


def bound(**changes: Any) -> BoundCredential:
    parts: dict[str, Any] = {
        "spec": SPEC, "placeholder": new_placeholder(SPEC), "secret": Secret(CANARY), "hosts": (("api.github.com", 443),),
    }  # fmt: skip
    return BoundCredential(**{**parts, **changes})


def test_a_secret_shows_itself_to_reveal_alone() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    texts = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "".join(map(str, [secret])),
             repr([secret]), repr({"a": secret}), repr(bound()), str(bound()), repr(ValueError(secret)),
             repr(dataclasses.fields(bound()))]  # fmt: skip
    assert not any(CANARY in text for text in texts)


def test_a_secret_is_not_pickled_copied_iterated_hashed_or_equal_to_text() -> None:
    secret = Secret(CANARY)
    for take in (pickle.dumps, copy.copy, copy.deepcopy, hash, list, len, vars):
        with pytest.raises(TypeError) as caught:
            take(secret)  # type: ignore[operator]
        assert CANARY not in str(caught.value)
    with pytest.raises(TypeError):
        pickle.dumps(ValueError(secret))
    with pytest.raises(TypeError):
        dataclasses.asdict(bound())
    assert secret != CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret
    assert not Secret("")


def test_a_secret_is_text() -> None:
    with pytest.raises(TypeError):
        Secret(b"bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "sk-ant-api03-", "sk-ant-oat01-", "ghp_"])
def test_a_placeholder_has_the_right_prefix_and_plain_characters(prefix: str) -> None:
    placeholder = new_placeholder(SPEC, prefix)
    assert re.fullmatch(re.escape(prefix) + r"bottle[A-Za-z0-9]{43}", placeholder)


def test_placeholders_are_never_the_same() -> None:
    assert len({new_placeholder(SPEC) for _ in range(1000)}) == 1000


def test_a_placeholder_uses_every_letter_and_digit() -> None:
    assert len(set("".join(new_placeholder(SPEC).removeprefix("bottle") for _ in range(200)))) == 62


@pytest.mark.parametrize("prefix", ["a b", "a\n", "é", "a" * 41, "a/"])
def test_a_prefix_that_needs_quoting_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        new_placeholder(SPEC, prefix)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"name": "-x"}, "name"), ({"name": ""}, "name"), ({"name": "a/b"}, "name"), ({"name": "a\n"}, "name"),
     ({"source": "vault"}, "source"), ({"source": ""}, "source"),
     ({"source_detail": ""}, "env"), ({"source_detail": "A-B"}, "variable"), ({"source_detail": ("A",)}, "env"),
     ({"source": "command", "source_detail": "gh auth token"}, "list of words"),
     ({"source": "command", "source_detail": ()}, "list of words"), ({"source": "command", "source_detail": ("",)}, "words"),
     ({"source": "command", "source_detail": ("a\0",)}, "NUL"), ({"source": "file", "source_detail": "/a\0b"}, "NUL"),
     ({"env": "1A"}, "env"), ({"env": "A=B"}, "env"), ({"env": ""}, "env"), ({"env": "A\n"}, "env"),
     ({"header": ""}, "header"), ({"header": "x y"}, "header"), ({"header": "X\r\nHost"}, "header"),
     ({"header": "Host"}, "header"), ({"header": "Content-Length"}, "header"), ({"header": "transfer-encoding"}, "header"),
     ({"format": ""}, "secret"), ({"format": "Bearer"}, "secret"), ({"format": "{secret}{secret}"}, "secret"),
     ({"format": "{secret} {other}"}, "braces"), ({"format": "Bearer {secret}\r\nX: y"}, "printable"),
     ({"format": "Bearer {secret} "}, "blanks"), ({"format": "é{secret}"}, "ASCII"), ({"ttl": 5}, "ttl"),
     ({"ttl": -1}, "ttl")],
)  # fmt: skip
def test_an_unsound_spec_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SPEC, **wrong)


@pytest.mark.parametrize(
    "spec",
    [SPEC, CredentialSpec("a", "file", "/k.json#/tokens/main", "K", "x-api-key"),
     CredentialSpec("b", "command", ("gh", "auth", "token"), "K", "x-api-key", ttl=300)],
)  # fmt: skip
def test_a_spec_survives_its_dictionary(spec: CredentialSpec) -> None:
    assert CredentialSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("data", [{}, {**SPEC.to_dict(), "secret": "x"}, {**SPEC.to_dict(), "env": None}])
def test_a_damaged_dictionary_is_no_spec(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a credential"):
        CredentialSpec.from_dict(data)


def test_the_header_is_the_format_around_the_value() -> None:
    assert bound().header_value() == f"Bearer {CANARY}"
    assert SPEC.fill("placeholder") == "Bearer placeholder"


@given(st.text())
def test_no_value_can_break_out_of_its_header_line(value: str) -> None:
    try:
        line = SPEC.fill(value)
    except ValueError as refused:
        assert len(value) < 4 or value not in str(refused)
        return
    assert line.isascii() and line.isprintable() and line == f"Bearer {value}"


@pytest.mark.parametrize("value", ["", " ", CANARY + "\n", CANARY + "\r\nHost: evil.test", CANARY + "é", "\0", "x" * 20_000])
def test_case_65_a_secret_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(ValueError, match="github") as caught:
        bound(secret=Secret(value))
    assert CANARY not in str(caught.value)


def test_a_credential_is_bound_to_exact_hosts_and_ports() -> None:
    one = bound(hosts=(("API.github.com.", 443), ("uploads.github.com", 8443)))
    assert one.binds("api.github.com", 443) and one.binds("uploads.github.com", 8443)
    assert not one.binds("api.github.com", 8443) and not one.binds("github.com", 443)
    assert not one.binds("xapi.github.com", 443) and not one.binds("api.github.com.evil.test", 443)


@pytest.mark.parametrize(
    "wrong",
    [{"hosts": (("127.0.0.1", 443),)}, {"hosts": (("*.github.com", 443),)}, {"hosts": (("a.test", 0),)},
     {"placeholder": "short"}, {"placeholder": "has a blank in its middle"},
     {"placeholder": "same-same-same-same", "secret": Secret("same-same-same-same")}],
)  # fmt: skip
def test_an_unsound_binding_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        bound(**wrong)
