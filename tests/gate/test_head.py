"""Strict message heads: whatever two parsers could read differently is refused (threats 44)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate.head import MAX_HEAD, BadHead, Request, find_end, parse_request, parse_response, sent_parser

GOOD = b"POST /v1/x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\n"


def request(*fields: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: api.example.com") -> bytes:
    return b"\r\n".join((first, host, *fields)) + b"\r\n\r\n"


def read(raw: bytes) -> Request:
    return parse_request(raw[: find_end(bytearray(raw), 0)])


# Every way we know to make two parsers disagree; `test_http` and `test_attacks` send the same over the wire.
AMBIGUOUS = {
    "length and chunked": request(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "two lengths": request(b"Content-Length: 5", b"Content-Length: 6"),
    "the same length twice": request(b"Content-Length: 5", b"Content-Length: 5"),
    "a list of lengths": request(b"Content-Length: 5, 5"),
    "a signed length": request(b"Content-Length: +5"),
    "a negative length": request(b"Content-Length: -5"),
    "a hexadecimal length": request(b"Content-Length: 0x5"),
    "a length with a blank": request(b"Content-Length: 5 5"),
    "an empty length": request(b"Content-Length:"),
    "a huge length": request(b"Content-Length: " + b"9" * 30),
    "chunked not last": request(b"Transfer-Encoding: chunked, identity"),
    "chunked twice": request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "gzip, chunked": request(b"Transfer-Encoding: gzip, chunked"),
    "a disguised chunked": request(b"Transfer-Encoding: xchunked"),
    "chunked in HTTP/1.0": request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
    "an underscore length": request(b"Content_Length: 5"),
    "an underscore coding": request(b"Transfer_Encoding: chunked"),
    "a blank before the colon": request(b"Content-Length : 5"),
    "a tab before the colon": request(b"Content-Length\t: 5"),
    "a folded field": request(b"X-A: 1", b" 2"),
    "a folded first field": b"GET / HTTP/1.1\r\n Host: api.example.com\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: api.example.com\r\n\r\n",
    "bare line feeds only": b"GET / HTTP/1.1\nHost: api.example.com\n\n",
    "a bare carriage return": request(b"X-A: 1\rX-B: 2"),
    "a NUL in a value": request(b"X-A: 1\x002"),
    "a NUL in a name": request(b"X\x00A: 1"),
    "a control in a value": request(b"X-A: 1\x012"),
    "DEL in a value": request(b"X-A: 1\x7f2"),
    "a field without a colon": request(b"X-A"),
    "an empty name": request(b": x"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two Hosts": request(b"Host: api.example.com"),
    "two different Hosts": request(b"Host: other.example.net"),
    "no version": b"GET /\r\nHost: api.example.com\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\n",  # threats 50
    "HTTP/1.2": request(first=b"GET / HTTP/1.2"),
    "HTTP/0.9": request(first=b"GET / HTTP/0.9"),
    "a lower case version": request(first=b"GET / http/1.1"),
    "two blanks in the first line": request(first=b"GET  / HTTP/1.1"),
    "a tab in the first line": request(first=b"GET\t/ HTTP/1.1"),
    "a blank in the target": request(first=b"GET /a b HTTP/1.1"),
    "a leading empty line": b"\r\n" + request(),
    "an unknown expectation": request(b"Expect: 200-ok"),
    "non-ASCII in the target": request(first="GET /ä HTTP/1.1".encode()),
}  # fmt: skip


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_head_is_refused(raw: bytes) -> None:  # threats 44
    with pytest.raises(BadHead):
        read(raw)


def test_a_sound_head_is_read() -> None:
    found = parse_request(GOOD)
    assert (found.method, found.target, found.length, found.chunked, found.keep) == ("POST", b"/v1/x", 5, False, True)


@given(st.integers(0, len(GOOD)))
def test_the_end_of_a_head_is_found_at_any_split(at: int) -> None:
    buffer = bytearray(GOOD[:at])
    first = find_end(buffer, 0)
    assert (first is None) == (at < len(GOOD))
    buffer += GOOD[at:] + b"next"
    assert find_end(buffer, at if first is None else 0) == len(GOOD)


def test_a_head_that_does_not_end_is_refused_at_its_limit() -> None:
    buffer = bytearray(b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD)
    with pytest.raises(BadHead) as refused:
        find_end(buffer, 0)
    assert refused.value.too_large


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(BadHead) as refused:
        parse_request(request(*[b"X: 1"] * 300))
    assert refused.value.too_large


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for raw in (data + b"\r\n\r\n", GOOD[:-2] + data + b"\r\n\r\n"):
        try:
            end = find_end(bytearray(raw), 0)
            if end is not None:
                parse_request(raw[:end])
        except BadHead:
            pass


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"content-length", b"TE"]),
            st.sampled_from([b"5", b"0", b"chunked", b"Chunked", b"5 ", b"identity", b"05"]),
        ),
        max_size=3,
    )
)
def test_a_head_is_never_both_counted_and_chunked(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        found = parse_request(request(*[name + b": " + value for name, value in fields]))
    except BadHead:
        return
    framing = [name for name, _ in fields if name.lower() != b"te"]
    assert len(framing) <= 1
    assert not (found.chunked and found.length is not None)


@pytest.mark.parametrize(
    ("status", "method", "expected"), [(200, "GET", 7), (204, "GET", 0), (304, "GET", 0), (200, "HEAD", 0)]
)
def test_responses_without_bodies_have_none_whatever_they_say(status: int, method: str, expected: int) -> None:
    raw = b"HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\n" % status
    assert parse_response(raw, sent_parser(method), method).length == expected


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Transfer-Encoding: gzip",
        b"X : y",
        b"X: a\nY: b",
    ],
)
def test_an_ambiguous_response_is_refused(fields: bytes) -> None:
    with pytest.raises(BadHead):
        parse_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n", sent_parser("GET"), "GET")
