"""The keeper's view of what might be granted: the operator's own idea, or less than was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claude_bottle.errors import BottleError
from tests.keeper.conftest import Kept

CHANGE: dict[str, object] = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}]}


def test_a_preview_is_rendered_like_a_request_and_kept_nowhere(launch: Callable[..., Kept]) -> None:
    kept = launch("sh", "-c", "sleep 600")
    with kept.control() as control:
        view = control.preview(CHANGE)
    assert view["lines"] == ["+ GET  https://crates.io/api/**"]
    assert view["reach"][0] == "+ crates.io:443 GET /api/**"  # type: ignore[index]
    assert (view["id"], view["via"], view["revision"]) == ("", "operator", 1)
    with kept.control() as control:
        assert control.requests()["requests"] == []


@pytest.mark.parametrize("change", [{"kind": "egress", "rules": [{"host": "*"}]}, {"kind": "nonsense"}, None])
def test_what_may_never_be_granted_has_no_preview(launch: Callable[..., Kept], change: dict[str, object]) -> None:
    kept = launch("sh", "-c", "sleep 600")
    with kept.control() as control, pytest.raises(BottleError):
        control.preview(change)


def test_less_than_a_request_that_is_not_there_has_no_preview(launch: Callable[..., Kept]) -> None:
    kept = launch("sh", "-c", "sleep 600")
    with kept.control() as control, pytest.raises(BottleError, match="more than was asked for"):
        control.preview(CHANGE, "q-00000000")
