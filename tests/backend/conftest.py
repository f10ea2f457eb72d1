"""Every test here that takes `person` runs as root and as an ordinary user."""

from __future__ import annotations

from tests.persons import everybody, person

__all__ = ["everybody", "person"]
