"""Backends are found by name, and an unknown one lists the known."""

from __future__ import annotations

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import UsageError


@pytest.mark.parametrize("name", [None, "", "auto", "bubblewrap"])
def test_the_default_is_bubblewrap(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAUDE_BOTTLE_BACKEND", raising=False)
    assert get_bottle_backend(name).name == "bubblewrap"


def test_the_environment_chooses_unless_a_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_BACKEND", "nonsense")
    assert get_bottle_backend("bubblewrap").name == "bubblewrap"
    with pytest.raises(UsageError) as refused:
        get_bottle_backend()
    assert refused.value.what == "no backend is called 'nonsense'"
    assert refused.value.do == "use one of: bubblewrap, docker, podman"
