"""Answers to what stuck agents ask, as plain data: what the verbs and the dashboard both send, and what comes back.

The keeper alone decides whether an answer still fits what was shown: hash, revision and state are compared there. Nothing is
asked or printed here; a question to the terminal is `decide`'s, a dialog the dashboard's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from claude_bottle.keeper.client import Control, Message
from claude_bottle.model.names import check_identity
from claude_bottle.state.paths import Paths

View = Mapping[str, Any]


def follow(identity: str, paths: Paths | None = None) -> Iterator[Message]:
    """Everything asked of this bottle, now and again after every change, until its keeper has ended."""
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        yield from control.follow_requests()


def approval(
    view: View, *, scope: str, until: str = "", change: Mapping[str, Any] | None = None, credential: str = ""
) -> Message:
    """The message that approves what `view` showed, or the narrower `change` in its place."""
    shown = {key: view[key] for key in ("id", "hash", "revision")}
    narrower = None if change is None else dict(change)
    return {"op": "approve", **shown, "scope": scope, "until": until, "change": narrower, "credential": credential}


def rejection(view: View, reason: str) -> Message:
    return {"op": "reject", "id": view["id"], "hash": view["hash"], "reason": reason}


def own_grant(change: Mapping[str, Any], *, scope: str, revision: int, until: str = "") -> Message:
    """The message that grants what nobody asked for; it lives like a request."""
    return {"op": "grant", "change": dict(change), "scope": scope, "revision": revision, "until": until}


def answer(identity: str, message: Message, paths: Paths | None = None) -> View:
    """Send one of these, and wait for what becomes of it: the view once it is in force, has failed or is rejected.
    BottleError when nothing comes of it, for it was not of what is there now."""
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        *_, last = control.decide(message)
    return last


def preview(identity: str, change: Mapping[str, Any], *, request: str = "", paths: Paths | None = None) -> View:
    """The view of a change as if it were asked for now, in place of what `request` asks if one is named. BottleError for
    what cannot be granted, or is more than the request asks."""
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        return control.preview(dict(change), request)
