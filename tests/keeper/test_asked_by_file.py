"""A file of approvals: what is written there is approved without anybody, and journalled as the file's decision."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bottle.supervise.rulefile import parse
from tests.keeper.asked import CRATES, Asked, Bottle, asking, host

__all__ = ["asking"]


def file(*entries: dict[str, Any]) -> tuple[dict[str, object], ...]:
    return tuple(one.to_dict() for one in parse({"version": 1, "approve": list(entries)}))


def written(scope: str = "session") -> dict[str, Any]:
    return {"egress": {"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}, "scope": scope}


def settled(bottle: Asked, request: str) -> str:
    return str(
        bottle.gate.next(
            lambda one: one["op"] == "request" and one["id"] == request and one["state"] in ("applied", "failed")
        )["state"]
    )


def test_what_is_written_is_granted_by_itself_and_said_to_be(asking: Bottle) -> None:
    bottle = asking(approvals=file({"egress": {"host": "pypi.org"}, "scope": "agent"}, written()))
    request = bottle.asked()
    assert settled(bottle, request) == "applied"
    decided = bottle.events("decided")[0]["data"]
    assert (decided["by"], decided["decision"], decided["scope"]) == ("the file of approvals, entry 2", "approved", "session")
    assert bottle.requests()["grants"][0]["lines"] == ["+ GET  https://crates.io/api/**"]


@pytest.mark.parametrize(
    "change",
    [host("crates.io"), host("crates.io", methods=["GET"]), host("crates.io", methods=["POST"], paths=["/api/**"]),
     host("crates.io", "evil.example.com", methods=["GET"], paths=["/api/**"]),
     host("static.crates.io", methods=["GET"], paths=["/api/x"])],
)  # fmt: skip
def test_what_is_not_waits_for_the_operator(asking: Bottle, change: dict[str, Any]) -> None:
    bottle = asking(approvals=file(written()))
    request = bottle.asked(change)
    assert bottle.view(request)["state"] == "submitted"
    assert bottle.gate.policies == []


def test_without_a_file_nothing_is_granted_by_itself(asking: Bottle) -> None:
    bottle = asking()
    assert bottle.view(bottle.asked())["state"] == "submitted"


def test_a_once_of_the_file_counts_once(asking: Bottle) -> None:
    bottle = asking(approvals=file(written("once")))
    first = bottle.asked()
    assert settled(bottle, first) == "applied"
    bottle.gate.tell("used", grant=bottle.requests()["grants"][0]["id"])
    bottle.gate.next(lambda one: one["op"] == "policy")
    second = bottle.asked(CRATES, ticket="t-2")
    assert bottle.view(second)["state"] == "submitted"


def test_a_credential_of_the_file_without_a_value_waits_for_the_operator(asking: Bottle) -> None:
    entry = {"credential": {"host": "api.github.com", "paths": ["/x"], "credential": "github"}, "scope": "session"}
    bottle = asking(approvals=file(entry))
    request = bottle.asked(
        {"kind": "credential", "rule": {"host": "api.github.com", "paths": ["/x"], "credential": "github"}}
    )
    assert bottle.view(request)["state"] == "submitted"
    assert "could not be followed" in bottle.events("fault")[0]["data"]["what"]
