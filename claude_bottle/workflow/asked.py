"""What the agents of all running bottles ask for, and where a request or a grant lives.

Every keeper is asked in turn and is given a bounded time: one that hangs is named, and hides nobody else's requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper.client import Control
from claude_bottle.model.names import check_identity
from claude_bottle.redact import printable
from claude_bottle.state.record import RUNNING
from claude_bottle.state.store import Store

if TYPE_CHECKING:
    from typing import Any

    from claude_bottle.state.paths import Paths

# For one keeper to answer while others wait for their turn.
ANSWER_SECONDS = 10.0


class Asked(NamedTuple):
    """What one bottle's keeper says (`deciding.Deciding.message`), or why it says nothing."""

    identity: str
    message: dict[str, Any]
    problem: BottleError | None = None

    @property
    def requests(self) -> list[dict[str, Any]]:
        return list(self.message.get("requests", ()))

    @property
    def grants(self) -> list[dict[str, Any]]:
        return list(self.message.get("grants", ()))


def asked(paths: Paths, identity: str | None = None, *, everything: bool = False) -> list[Asked]:
    """Of every running bottle, or of one. BottleError for one that is named and does not run."""
    if identity is not None:
        check_identity(identity)
        with Control(paths, identity) as control:
            return [Asked(identity, control.requests(everything=everything))]
    names = [entry.identity for entry in Store(paths).list() if entry.status == RUNNING]
    return [_asked(paths, name, everything) for name in names]


def _asked(paths: Paths, identity: str, everything: bool) -> Asked:
    try:
        with Control(paths, identity, seconds=ANSWER_SECONDS) as control:
            return Asked(identity, control.requests(everything=everything))
    except BottleError as problem:
        return Asked(identity, {}, problem)
    except TimeoutError:
        return Asked(identity, {}, BottleError(f"the keeper of {identity} does not answer"))


def find_request(paths: Paths, request: str) -> tuple[Asked, dict[str, Any]]:
    """The running bottle that asks for it, and its view. BottleError when there is none."""
    everywhere = asked(paths, everything=True)
    for one in everywhere:
        for view in one.requests:
            if view["id"] == request:
                return one, view
    raise _nowhere("request", request, everywhere, "claude-bottle requests lists them")


def find_grant(paths: Paths, grant: str) -> tuple[Asked, dict[str, Any]] | None:
    """The running bottle that has it, and its view; None when no running one has."""
    return next(((one, view) for one in asked(paths, everything=True) for view in one.grants if view["id"] == grant), None)


def _nowhere(kind: str, name: str, everywhere: list[Asked], do: str) -> BottleError:
    silent = [one.identity for one in everywhere if one.problem]
    why = f"{', '.join(silent)} did not answer" if silent else "no running bottle knows it"
    return BottleError(f"no {kind} {printable(name, width=40)}", why=why, do=do)
