"""Errors a person is meant to read: what happened, why, and what to do.

Everything known to go wrong is raised as a `BottleError`; the edge (`cli`) prints it and turns it into an exit
code, once. Anything else that escapes is a bug (exit 70). The dictionary form crosses process borders (keeper → CLI).
"""

from __future__ import annotations


class BottleError(Exception):
    """A known error. `what` is one line; `why`, `do` and `more` are optional and may hold several lines."""

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", do: str = "", more: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.do, self.more = what, why, do, more

    def to_dict(self) -> dict[str, object]:
        return {"what": self.what, "why": self.why, "do": self.do, "more": self.more, "exit_code": self.exit_code}

    @staticmethod
    def from_dict(data: dict[str, object]) -> BottleError:
        """Rebuild the error another process reported; the class follows from its exit code."""
        code = data.get("exit_code")
        kind = next((k for k in _KINDS if k.exit_code == code), BottleError)
        texts = {name: str(data.get(name) or "") for name in ("why", "do", "more")}
        return kind(str(data.get("what") or "unknown error"), **texts)


class UsageError(BottleError):
    """The command line is wrong."""

    exit_code = 2


class Refused(BottleError):
    """Policy or trust says no."""

    exit_code = 3


class EnvironmentLacks(BottleError):
    """This machine lacks something; `doctor` says what."""

    exit_code = 4


class Interrupted(BottleError):
    """The operator pressed Ctrl-C."""

    exit_code = 130


_KINDS: tuple[type[BottleError], ...] = (UsageError, Refused, EnvironmentLacks, Interrupted)
