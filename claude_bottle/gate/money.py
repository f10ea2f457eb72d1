"""What a bottle spends at a model's API, told by the answers themselves: the usage that each of them ends with.

Measured is what is sent to the Messages API and answered in the open (threats.md, invariant I9: with the operator's
credential). The answer is the server's, whose certificate was checked, so no agent can make it smaller; one that says
nothing of usage where a bound is set counts as all that was left. A bound stops the next request, not the one under way:
what that costs is known at its end. No I/O.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from claude_bottle.model.prices import NO_PRICES, Prices, Tokens, cost

if TYPE_CHECKING:
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.head import Headers, Response

MESSAGES = "/v1/messages"
# What costs as much and does not say so in its answer begins like this, too; what costs nothing is one of it.
_SPENDING, _FREE = ("/v1/messages", "/v1/complete"), "/v1/messages/count_tokens"
_MAX_LINE, _MAX_BODY = 1 << 20, 16 << 20
_MAX_TOKENS = 1 << 32
# For what was broken off: no fewer bytes make a token of a request, or of an answer's events.
_BYTES_READ, _BYTES_WRITTEN = 3, 8


class Money:
    """`limit` None: no bound. Both in millionths of a dollar; `spent` over all runs of the bottle.
    `prices`: the operator's."""

    __slots__ = ("limit", "prices", "spent")

    def __init__(self, limit: int | None = None, spent: int = 0, prices: Prices = NO_PRICES) -> None:
        self.limit, self.spent, self.prices = limit, spent, prices

    def refuses(self, method: str, path: str) -> bool:
        """Whether a request would spend what is not left, or what nobody could count."""
        if self.limit is None or method != "POST":
            return False
        if path == MESSAGES:
            return self.spent >= self.limit
        return path.lower().startswith(_SPENDING) and path != _FREE

    def measured(self, attempt: Attempt, headers: Headers) -> Headers:
        """The headers that an allowed request goes up with; one that spends is measured from here on, and asks for an
        answer that can be read."""
        if attempt.method != "POST" or attempt.path != MESSAGES:
            return headers
        attempt.meter = Meter(self)
        return [*(pair for pair in headers if pair[0] != b"accept-encoding"), (b"accept-encoding", b"identity")]

    def charge(self, micros: int | None) -> int:
        """Count this, or (None) all that is left; what was counted."""
        if micros is None:
            micros = 0 if self.limit is None else max(self.limit - self.spent, 0)
        self.spent += micros
        return micros


class Unmetered:
    """Of a request that spends nothing."""

    def began(self, response: Response) -> None:
        """Its head is there."""

    def read(self, piece: Any) -> None:
        """A piece of its body."""

    def ended(self, up: int, *, failed: bool) -> dict[str, object]:
        """What is said of it in the journal. `failed`: no answer, and the bottle had no part in that."""
        return {}


class Meter(Unmetered):
    """Of one request to the Messages API."""

    def __init__(self, money: Money) -> None:
        self._money = money
        self._status, self._events, self._readable = 0, False, True
        self._held = bytearray()
        self._size = 0
        self._model = ""
        self._usage: dict[str, Any] = {}
        self._whole = False

    def began(self, response: Response) -> None:
        self._status = response.status
        said = {name: value.lower() for name, value in response.headers}
        self._events = said.get(b"content-type", b"").startswith(b"text/event-stream")
        self._readable = said.get(b"content-encoding", b"identity") == b"identity"

    def read(self, piece: Any) -> None:
        self._size += len(piece)
        if self._status != 200 or not self._readable:
            return
        self._held += piece
        if not self._events:
            self._readable = len(self._held) <= _MAX_BODY
            return
        *lines, rest = self._held.split(b"\n")
        self._held = rest if len(rest) <= _MAX_LINE else bytearray()
        for line in lines:
            if line.startswith(b"data:") and b'"usage"' in line and len(line) <= _MAX_LINE:
                self._event(line[5:])

    def ended(self, up: int, *, failed: bool) -> dict[str, object]:
        if self._status not in (0, 200) or failed:
            return {}
        if self._status == 200 and not self._events and self._readable:
            self._message(_object(self._held), whole=True)
        used = self._used(up)
        micros = self._money.charge(None if used is None else cost(self._model, used, self._money.prices))
        said: dict[str, object] = {"model": self._model[:100], "usd_micros": micros}
        if used is None:
            return said | {"unmeasured": True}
        return said | {"tokens_read": used.all_read, "tokens_written": used.written}

    def _used(self, up: int) -> Tokens | None:
        """None: a whole answer that says nothing. What was broken off is put higher than it can have been."""
        said = self._usage
        if not said:
            broken = self._status == 0 or (self._events and self._readable)
            return Tokens(read=up // _BYTES_READ, written=self._size // _BYTES_WRITTEN) if broken and up else None
        kept = said.get("cache_creation")
        long = _count(kept.get("ephemeral_1h_input_tokens")) if isinstance(kept, dict) else 0
        cached, served = _count(said.get("cache_creation_input_tokens")), said.get("server_tool_use")
        written = _count(said.get("output_tokens"))
        return Tokens(
            read=_count(said.get("input_tokens")), cached_short=max(cached - long, 0), cached_long=long,
            from_cache=_count(said.get("cache_read_input_tokens")),
            written=written if self._whole else max(written, self._size // _BYTES_WRITTEN),
            searches=_count(served.get("web_search_requests")) if isinstance(served, dict) else 0,
        )  # fmt: skip

    def _event(self, data: bytes | bytearray) -> None:
        event = _object(data)
        if event.get("type") == "message_start" and isinstance(event.get("message"), dict):
            self._message(event["message"], whole=False)
        elif event.get("type") == "message_delta":
            self._message(event, whole=True)

    def _message(self, said: dict[str, Any], *, whole: bool) -> None:
        """What a message, or its end, says of usage: numbers of a later one are of the whole."""
        usage = said.get("usage")
        if isinstance(usage, dict):
            self._usage |= {key: value for key, value in usage.items() if value is not None}
            self._whole = whole
        if isinstance(said.get("model"), str):
            self._model = said["model"]


def _object(data: bytes | bytearray) -> dict[str, Any]:
    try:
        found = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return min(value, _MAX_TOKENS) if type(value) is int and value > 0 else 0
