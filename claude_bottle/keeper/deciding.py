"""What an operator's clients ask about requests, and what they are told.

Clients are of the operator (the server has checked the uid) and may be of another version: each field is checked here, what
it means is decided by `supervise`. Two of them at once agree because every decision goes through the one inbox.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.control import HIGH
from claude_bottle.model.changes import narrower, stored
from claude_bottle.model.requests import APPROVED, OPEN, UNTIL, Request, new_request_id
from claude_bottle.redact import printable
from claude_bottle.state.record import timestamp, unix_time
from claude_bottle.supervise.decision import Decision, not_as_shown
from claude_bottle.supervise.intake import change_of
from claude_bottle.supervise.render import grant_view, view
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.keeper.control import Connection, Message
    from claude_bottle.keeper.inbox import Requests
    from claude_bottle.model.changes import Change

# Closed requests and ended grants that are shown beside what is open, unless all are wanted.
RECENT = 16
# An `until` this far away is a mistake.
LONGEST_SECONDS = 366 * 24 * 3600.0
# What all views of one answer may weigh; a frame takes more.
_WEIGHT = frames.MESSAGE_LIMIT // 2


class Deciding:
    """The clients' side of one bottle's requests."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._followers: list[Connection] = []
        requests.on_change.append(lambda _request: self._tell_followers())

    def list(self, connection: Connection, message: Message) -> None:
        connection.send(self.message(everything=message.get("all") is True))

    def follow(self, connection: Connection, _message: Message) -> None:
        """The same now and after every change. One that does not read is told the latest when it does."""
        self._followers.append(connection)
        connection.on_close.append(self._followers.remove)
        connection.send(self.message())

    def approve(self, connection: Connection, message: Message) -> None:
        change = message.get("change")
        wanted = Decision(
            _text(message, "id"), _text(message, "hash"), _revision(message), _text(message, "scope"), self._until(message),
            None if change is None else self._changed(change), _text(message, "credential"),
        )  # fmt: skip
        self._requests.granting.approve(wanted, lambda request: self._decided(connection, request), connection.fail)

    def reject(self, connection: Connection, message: Message) -> None:
        request = self._requests.reject(_text(message, "id"), _text(message, "hash"), _text(message, "reason"))
        self._decided(connection, request)

    def revoke(self, connection: Connection, message: Message) -> None:
        grant = _text(message, "grant")

        def done(why: str) -> None:
            found = self._requests.inbox.grant(grant)
            if why:
                connection.fail(BottleError(f"{grant} is revoked, but the gate did not say so", why=why))
            elif found:
                connection.send({"op": "revoked", "grant": grant_view(found)})

        self._requests.granting.revoke(grant, done)

    def grant(self, connection: Connection, message: Message) -> None:
        """The operator's own idea: asked and approved in one go, by the same life cycle."""
        requests = self._requests
        if _revision(message) != requests.inbox.revision:
            raise not_as_shown("what the bottle may reach has changed since")
        change, until = change_of(message.get("change"), requests.operator_named()), self._until(message)
        inbox = requests.inbox
        request = Request(new_request_id(), inbox.bottle, inbox.launch, change, "", "operator", timestamp())
        if inbox.equal_to(change) is None:
            requests.submit(request)
        found = requests.inbox.equal_to(change) or request
        decision = Decision(found.id, found.hash, inbox.revision, _text(message, "scope"), until,
                            credential=_text(message, "credential"))  # fmt: skip
        try:
            requests.granting.approve(decision, lambda one: self._decided(connection, one), connection.fail)
        except BottleError:
            if found is request:
                requests.reject(found.id, found.hash, "it could not be granted")
            raise

    def preview(self, connection: Connection, message: Message) -> None:
        """What a change would look like, were it asked for now: the operator's own idea, or less than a request asks for.
        Nothing is kept of it."""
        requests, name = self._requests, _text(message, "id")
        inbox, around = requests.inbox, requests.surroundings()
        if not name:
            change = change_of(message.get("change"), requests.operator_named())
            shown = view(Request("", inbox.bottle, inbox.launch, change, "", "operator", timestamp()), around)
        else:
            asked, change = inbox.find(name), self._changed(message.get("change"))
            if asked is None or not narrower(change, asked.change):
                raise BottleError("this is more than was asked for, or something else", do="name what the request names")
            shown = view(replace(asked, change=change), around) | {"hash": asked.hash}
        connection.send({"op": "preview", "view": shown})

    def message(self, *, everything: bool = False) -> Message:
        """All that is open, and of what is over the latest (or `everything` that is remembered), newest last."""
        inbox, around = self._requests.inbox, self._requests.surroundings()
        closed = [one for one in inbox.requests if one.state not in OPEN]
        over = [one for one in inbox.grants if one.ended]
        shown = {one.id for one in (*inbox.open, *(closed if everything else closed[-RECENT:]))}
        hidden = {one.id for one in (() if everything else over[:-RECENT])}
        progress = self._requests.progress
        views = [{**view(one, around), "progress": progress.get(one.id, "") if one.state == APPROVED else ""}
                 for one in inbox.requests if one.id in shown]  # fmt: skip
        return {
            "op": "requests", "identity": inbox.bottle, "launch": inbox.launch, "revision": inbox.revision,
            "requests": _bounded(views), "grants": [grant_view(one) for one in inbox.grants if one.id not in hidden],
        }  # fmt: skip

    def _tell_followers(self) -> None:
        ready = [one for one in self._followers if one.queued <= HIGH]
        for late in [one for one in self._followers if one.queued > HIGH]:
            late.on_drained = lambda late=late: self._catch_up(late)
        if ready:
            message = self.message()
            for connection in ready:
                connection.send(message)

    def _catch_up(self, connection: Connection) -> None:
        connection.on_drained = None
        connection.send(self.message())

    def _decided(self, connection: Connection, request: Request) -> None:
        connection.send({"op": "decided", "request": view(request, self._requests.surroundings())})

    def _changed(self, change: object) -> Change:
        """What an operator wants in place of what was asked; that it is narrower is checked with the decision."""
        try:
            return stored(change)
        except (ValueError, RecursionError) as problem:
            raise BottleError("this cannot be approved", why=printable(str(problem))) from None

    def _until(self, message: Message) -> str:
        """The time, as a record writes it. BottleError for one that is none, is over, or is a year away."""
        until = _text(message, "until")
        if _text(message, "scope") != UNTIL and not until:
            return ""
        at = unix_time(until)
        ahead = -1.0 if at is None else at - self._requests.leases.wall()
        if at is None or not 0 < ahead <= LONGEST_SECONDS:
            raise BottleError("a grant ends at a time to come, within a year", why=f"not {printable(until, width=40)!r}",
                              do="for example --until 2h")  # fmt: skip
        return timestamp(at)


def _text(message: Message, key: str) -> str:
    value = message.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 4000:
        raise BottleError(f"{key} is a text")
    return value


def _revision(message: Message) -> int:
    value = message.get("revision")
    if type(value) is not int:
        raise not_as_shown("no revision was named")
    return value


def _bounded(views: list[dict[str, object]]) -> list[dict[str, object]]:
    """The latest that one message takes: open ones all, for they are few and small."""
    weight, kept = 0, set()
    for _, one in sorted(enumerate(views), key=lambda found: (found[1]["state"] not in OPEN, -found[0])):
        weight += len(json.dumps(one))
        if one["state"] in OPEN or weight <= _WEIGHT:
            kept.add(one["id"])
    return [one for one in views if one["id"] in kept]
