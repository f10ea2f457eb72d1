"""What the agent is told."""

from __future__ import annotations

from claude_bottle.model.changes import CredentialChange
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.policy import Rule
from claude_bottle.supervise.wording import TEXT_LIMIT, bounded, text
from tests.supervise.making import NOW, approved, egress, granted, inbox, request


def test_each_state_is_said_with_its_id() -> None:
    one = request()
    box = inbox(one)
    assert text(one) == f"{one.id} waits for the operator's decision."
    assert "approved" in text(approved(box, one).find(one.id))  # type: ignore[arg-type]
    assert "is rejected: not today" in text(box.reject(one.id, "not today", NOW).find(one.id))  # type: ignore[arg-type]
    said = text(granted(box, one).find(one.id))  # type: ignore[arg-type]
    assert "until this bottle ends" in said
    assert "+ any method  https://crates.io  any path" in said


def test_less_than_asked_is_said_to_be_less() -> None:
    one = request(egress("crates.io", "pypi.org"))
    said = text(granted(inbox(one), one, change=egress("pypi.org")).find(one.id))  # type: ignore[arg-type]
    assert "less than you asked for" in said
    assert "crates.io" not in said


def test_a_credential_comes_as_a_header_with_a_placeholder_and_never_its_secret() -> None:
    one = request(CredentialChange(Rule("api.github.com", paths=("/x",), credential="github")))
    spec = CredentialSpec("github", "env", "TOKEN", "GITHUB_TOKEN", "Authorization", "Bearer {secret}")
    bound = BoundCredential(spec, "bottleplaceholder0000", Secret("the-secret"), (("api.github.com", 443),))
    said = text(granted(inbox(one), one).find(one.id), bound)  # type: ignore[arg-type]
    assert "Authorization: Bearer bottleplaceholder0000" in said
    assert "the-secret" not in said


def test_a_text_is_printable_and_bounded() -> None:
    assert bounded("\x1b[2J") == "\\x1b[2J"
    assert len(bounded("x" * 10_000)) == TEXT_LIMIT
