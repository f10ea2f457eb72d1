"""The screens in the documentation are the program's."""

from __future__ import annotations

from tests.dashboard.tui.pictures import PAGE, page


def test_the_screens_of_the_documentation_are_what_the_dashboard_shows() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.dashboard.tui.pictures"
