"""What stuck agents ask and what the operator answers: the use cases behind the verbs and the dashboard alike.

Each call is one question to the bottle's keeper, which alone decides whether an answer still fits what was shown (hash,
revision and state are compared there). Nothing is cached and nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from claude_bottle.keeper.client import Control, Message, lost
from claude_bottle.model.names import check_identity
from claude_bottle.state.paths import Paths

View = Mapping[str, Any]


def follow(identity: str, paths: Paths | None = None) -> Iterator[Message]:
    """Everything asked of this bottle, now and again after every change, until its keeper has ended."""
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        control.send({"op": "follow_requests"})
        while (message := control.next_message()) is not None:
            if message.get("op") == "requests":
                yield message


def approve(
    identity: str,
    view: View,
    *,
    scope: str,
    until: str = "",
    change: Mapping[str, Any] | None = None,
    credential: str = "",
    paths: Paths | None = None,
) -> View:
    """Approve what `view` showed, or the narrower `change` in its place. What became of it: the view once it is applied, or
    has failed. BottleError when it is no longer what was shown."""
    said: Message = {**_shown(view), "op": "approve", "scope": scope}
    said |= {"until": until} if until else {}
    said |= {"change": dict(change)} if change is not None else {}
    said |= {"credential": credential} if credential else {}
    return _decided(identity, said, paths)


def reject(identity: str, view: View, *, reason: str = "", paths: Paths | None = None) -> View:
    """Reject what `view` showed; the agent is told `reason`."""
    shown = _shown(view)
    del shown["revision"]
    return _decided(identity, {**shown, "op": "reject", **({"reason": reason} if reason else {})}, paths)


def grant(
    identity: str, change: Mapping[str, Any], *, scope: str, revision: int, until: str = "", paths: Paths | None = None
) -> View:
    """Grant what nobody asked for, on the operator's own initiative; through the same life as a request."""
    said: Message = {"op": "grant", "change": dict(change), "scope": scope, "revision": revision}
    return _decided(identity, said | ({"until": until} if until else {}), paths)


def preview(identity: str, change: Mapping[str, Any], *, request: str = "", paths: Paths | None = None) -> View:
    """The view of a change as the keeper would show it, were it asked for now; of `request`, if it is narrower."""
    said: Message = {"op": "preview", "change": dict(change), **({"id": request} if request else {})}
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        control.send(said)
        while (message := control.next_message()) is not None:
            if message.get("op") == "preview" and isinstance(message.get("view"), dict):
                return message["view"]  # type: ignore[return-value]
    raise lost(identity)


def _shown(view: View) -> Message:
    return {key: view[key] for key in ("id", "hash", "revision")}


def _decided(identity: str, said: Message, paths: Paths | None) -> View:
    """Ask, and wait until what was approved is applied or has failed; a rejection is over at once."""
    last: View | None = None
    with Control(paths or Paths.default(), check_identity(identity)) as control:
        control.send(said)
        while (message := control.next_message()) is not None:
            if message.get("op") == "decided" and isinstance(message.get("request"), dict):
                last = message["request"]  # type: ignore[assignment]
                if last is not None and last.get("state") != "approved":
                    return last
    if last is None:
        raise lost(identity)
    return last
