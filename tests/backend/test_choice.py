"""Which backend is chosen, and that nothing is replaced without a word."""

from __future__ import annotations

import pytest

from claude_bottle.backend import choice
from claude_bottle.backend.choice import choose
from claude_bottle.errors import EnvironmentLacks, UsageError


class Place:
    def __init__(self, name: str, lacks: str) -> None:
        self.name, self._lacks = name, lacks

    def require(self) -> None:
        if self._lacks:
            raise EnvironmentLacks(self._lacks)


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name → what it lacks; "" means that it can run."""
    monkeypatch.delenv("CLAUDE_BOTTLE_BACKEND", raising=False)
    lacking = {"bubblewrap": "", "docker": ""}

    def get(name: str) -> Place:
        if name not in lacking:
            raise UsageError(f"no backend is called {name!r}")
        return Place(name, lacking[name])

    monkeypatch.setattr(choice, "get_bottle_backend", get)
    return lacking


def test_the_command_line_wins_over_manifest_environment_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_BACKEND", "docker")
    assert choose("bubblewrap", "docker", default="docker").backend.name == "bubblewrap"
    assert choose(None, "bubblewrap", default="docker").backend.name == "bubblewrap"
    assert choose(None, "auto", default="bubblewrap").backend.name == "docker"


def test_the_setting_is_the_last_word_before_auto() -> None:
    assert choose(None, default="docker").backend.name == "docker"
    assert choose("auto", "auto", default="auto").backend.name == "bubblewrap"


def test_a_bottle_of_an_image_runs_on_docker() -> None:
    chosen = choose(None, image=True)
    assert (chosen.backend.name, chosen.warning) == ("docker", "")


def test_an_image_bottle_without_docker_falls_back_and_says_so(places: dict[str, str]) -> None:
    places["docker"] = "the docker daemon does not run"
    chosen = choose(None, image=True)
    assert chosen.backend.name == "bubblewrap"
    assert chosen.warning == ("docker cannot be used here (the docker daemon does not run), so this bottle runs on "
                              "bubblewrap; the bottle's image is not used")  # fmt: skip


def test_without_bubblewrap_it_is_docker_and_says_so(places: dict[str, str]) -> None:
    places["bubblewrap"] = "no user namespaces"
    chosen = choose(None)
    assert chosen.backend.name == "docker"
    assert "no user namespaces" in chosen.warning


def test_where_nothing_can_run_the_first_choice_says_what_it_lacks(places: dict[str, str]) -> None:
    places.update(bubblewrap="no user namespaces", docker="not installed")
    with pytest.raises(EnvironmentLacks, match="no user namespaces"):
        choose(None).backend.require()


def test_what_was_named_is_never_replaced(places: dict[str, str]) -> None:
    places["docker"] = "not installed"
    with pytest.raises(EnvironmentLacks, match="not installed"):
        choose("docker").backend.require()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError):
        choose("nonsense")
