"""Fuzz targets over whole conversations: whatever arrives, in whatever pieces, nothing goes up that was not judged, and
what goes up is one request to every reader."""

from __future__ import annotations

import http.client
import io
import random
import re
import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.gate import core
from claude_bottle.gate.core import CLIENT
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook, split
from tests.gate.browser_hellos import CHROME
from tests.gate.conftest import HOST, OTHER, PLACEHOLDER, SECRET, MakeState, bound

HOST_LINE = b"Host: api.example.com\r\n"
REQUESTS = [
    b"GET /x?y=1 HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    b"POST /x HTTP/1.1\r\n" + HOST_LINE + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nT: r\r\n\r\n",
    b"POST http://api.example.com/ HTTP/1.1\r\n" + HOST_LINE + b"Content-Length: 5\r\nConnection: close, x\r\n\r\nhello",
    b"CONNECT api.example.com:443 HTTP/1.1\r\n" + HOST_LINE + b"\r\n" + CHROME,
    b"CONNECT other.example.net:22 HTTP/1.1\r\nHost: other.example.net:22\r\n\r\nSSH-2.0-x\r\n",
    b"GET http://bottle.internal/policy HTTP/1.0\r\nHost: bottle.internal\r\n\r\n",
    CHROME,
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\xff", b"%2e", b"Content-Length: 3\r\n", b"_",
    b"Transfer-Encoding: chunked\r\n", b"Host: evil.test\r\n", b"HTTP/1.1", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n",
]  # fmt: skip
LISTENERS = [
    ("proxy", "127.0.0.1", 3128), ("http", "198.18.0.2", 80), ("https", "198.18.0.2", 443), ("http", "198.18.0.1", 80),
    ("https", "198.18.0.3", 443), ("port-22", "198.18.0.3", 22), ("http", "127.0.0.1", 80), ("https", "198.18.9.9", 443),
]  # fmt: skip
RULES = (Rule(HOST), Rule(HOST, port=80), Rule(OTHER, tls="tunnel"), Rule(OTHER, port=22, tls="tunnel"))
# The fixtures only make states: nothing of one example reaches the next.
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
often = settings(max_examples=300, deadline=None, suppress_health_check=UNCHECKED)
GRANTED = {(rule.host, rule.port) for rule in RULES}


def damaged(data: bytes, dice: random.Random) -> bytes:
    """`data` with some bytes changed, lost, doubled or added."""
    out = bytearray(data)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(5):
            case 0:
                out[at : at + 1] = bytes((dice.randrange(256),))
            case 1:
                out[at:at] = dice.choice(PIECES)
            case 2:
                del out[at : at + dice.choice((1, 1, 2, 10))]
            case 3:
                out += dice.choice(REQUESTS)
            case _:
                del out[at:]
    return bytes(out)


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    return split(data, [dice.choice((1, 2, 3, 10, 100, 10_000)) for _ in range(200)])


def play_upstream(play: Playbook, dice: random.Random) -> None:
    """Something may happen on each upstream link there is."""
    for link, origin in [(dial.link, dial.origin) for dial in play.dials]:
        if link not in play.logic.channels or dice.random() < 0.4:
            continue
        if play.logic.channels[link].secure or origin.tls or dice.random() < 0.1:
            play.event(dice.choice((core.DialFailed(link, "upstream_failed", "x"), core.Lost(link))))
        elif dice.random() < 0.5:
            play.event(core.Dialled(link))
        else:
            for piece in pieces(damaged(dice.choice(RESPONSES), dice), dice):
                play.event(core.Received(link, piece))
            other = dice.choice((CLIENT, link))
            play.event(dice.choice((core.Ended(link), core.Clogged(other), core.Drained(other))))


@given(st.integers())
@often
def test_no_conversation_breaks_or_sends_up_what_was_not_granted(make_state: MakeState, seed: int) -> None:
    dice = random.Random(seed)
    play = Playbook(make_state(*RULES), *dice.choice(LISTENERS))
    for piece in pieces(b"".join(damaged(dice.choice(REQUESTS), dice) for _ in range(dice.choice((1, 2, 3)))), dice):
        play.event(core.Received(CLIENT, piece))
        play_upstream(play, dice)
    play.event(core.Lost(CLIENT))
    granted = {(one["host"], one["port"]) for one in play.decisions if one["allow"]}
    assert granted <= GRANTED
    assert {(dial.origin.host, dial.origin.port) for dial in play.dials} <= granted
    assert play.logic.over
    assert play.logic.channels.keys() <= {CLIENT} or core.Splice in map(type, play.commands), "a link outlived its client"


def read_by_http_client(wire: bytes) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """First line, fields and what is left, as the standard library reads them."""
    file = io.BytesIO(wire)
    first = file.readline()
    fields = http.client.parse_headers(file).items()
    return first, [(name.lower(), value) for name, value in fields], file.read()


def read_naively(wire: bytes) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """The same as a careless server would: lines end in LF, names end at the first colon, blanks do not matter."""
    head, rest = re.split(rb"\r?\n\r?\n", wire, maxsplit=1)
    first, *lines = re.split(rb"\r?\n", head)
    pairs = [line.decode("latin-1").partition(":")[::2] for line in lines]
    return first, [(name.strip().lower().replace("_", "-"), value.strip()) for name, value in pairs], rest


def one_request(fields: list[tuple[str, str]], rest: bytes) -> bool:
    """Whether `rest` is exactly the body that the fields announce, or the beginning of it."""
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value for name, value in fields if name == "transfer-encoding"]
    if len(lengths) + len(codings) > 1 or [value for name, value in fields if name == "host"] != [HOST]:
        return False
    if codings:
        return codings == ["chunked"] and one_chunked_body(rest)
    return len(rest) <= int(lengths[0] if lengths else "0")


def one_chunked_body(rest: bytes) -> bool:
    """Whether this is one body in plain chunks (RFC 9112 §7.1), or the beginning of it. Data may look like an end."""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return rest == b"\r\n"
        if len(rest) < count + 2:
            return True
        if rest[count : count + 2] != b"\r\n":
            return False
        rest = rest[count + 2 :]
    return True


@given(st.integers())
@often
def test_what_goes_up_is_the_same_one_request_to_every_reader(make_state: MakeState, seed: int) -> None:  # threats 44, 45
    dice = random.Random(seed)
    play = Playbook(make_state(Rule(HOST, port=80)), "http", "198.18.0.2", 80)
    for piece in pieces(damaged(dice.choice(REQUESTS[:3]), dice), dice):
        play.event(core.Received(CLIENT, piece))
    wire = play.dialled(1) if play.dials else b""
    if not wire:
        assert play.upstream_bytes() == 0
        return
    (decision,) = (one for one in play.decisions if one["allow"])
    for read in (read_by_http_client, read_naively):
        first, fields, rest = read(wire)
        method, target, version = first.strip().split(b" ")
        assert (method.decode(), version) == (decision["method"], b"HTTP/1.1")
        assert target.partition(b"?")[0].decode() == decision["path"]
        assert one_request(fields, rest)


@pytest.mark.parametrize("at", range(1, 30))
def test_a_chunked_body_split_at_any_place_goes_up_the_same(make_state: MakeState, at: int) -> None:
    play = Playbook(make_state(Rule(HOST, port=80)), "http", "198.18.0.2", 80)
    body = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
    play.client(b"POST /x HTTP/1.1\r\n" + HOST_LINE + b"Transfer-Encoding: chunked\r\n\r\n")
    up = play.dialled(1)
    for piece in (body[:at], body[at:]):
        play.client(piece)
        up += play.arrived(1)
    _, fields, rest = read_by_http_client(up)
    assert ("transfer-encoding", "chunked") in fields
    response = io.BytesIO(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
    reader = http.client.HTTPResponse(_Socket(response))  # type: ignore[arg-type]
    reader.begin()
    assert reader.read() == b"abcdefg"


class _Socket:
    """What `HTTPResponse` wants of a socket."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def makefile(self, mode: str) -> io.BytesIO:
        return self._file


@given(st.lists(st.integers(1, 60), max_size=12), st.booleans(), st.text("ab=;, ", max_size=6), st.integers(0, 30))
@often
def test_the_secret_goes_to_its_place_alone_however_the_request_is_split(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext,
    sizes: list[int], here: bool, around: str, size: int,
) -> None:  # fmt: skip
    rules = (Rule(HOST, credential="api"), Rule(OTHER))
    host = HOST if here else OTHER
    address = "198.18.0.2" if here else "198.18.0.3"
    play = Playbook(make_state(*rules, credentials=(bound((HOST, 443)),)), "https", address, 443)
    play.secure(bottle_trust, host)
    body = bytes(size)
    request = f"POST /x HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {around}{PLACEHOLDER}\r\nContent-Length: {size}\r\n\r\n"
    for piece in split(request.encode() + body, sizes):
        play.client(piece)
    if not here:
        assert play.dials == []
        assert play.upstream_bytes() == 0
        return
    wire = play.dialled(1, context=upstream_context)
    assert wire.count(SECRET.encode()) == 1
    assert PLACEHOLDER.encode() not in wire
    _, fields, rest = read_by_http_client(wire)
    assert ("x-api-key", SECRET) in fields
    assert ("content-length", str(size)) in fields
    assert rest == body
