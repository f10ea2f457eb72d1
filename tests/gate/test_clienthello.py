"""Reading the name a TLS client asks for (threats 43)."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate import clienthello
from claude_bottle.gate.clienthello import NoName, NotTls
from claude_bottle.testing.playbook import TlsPeer, split
from tests.gate.browser_hellos import CHROME, FIREFOX

NAME = "api.example.com"


def real_hello(name: str | None = NAME) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if name is None:
        context.check_hostname = False
    return TlsPeer(context, name).start()


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def sni(name: bytes = NAME.encode()) -> bytes:
    entry = b"\0" + struct.pack(">H", len(name)) + name
    return extension(0, struct.pack(">H", len(entry)) + entry)


def hello(*extensions: bytes, record: int = 1 << 14) -> bytes:
    """A minimal ClientHello with these extensions, in records of at most `record` bytes."""
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    if extensions:
        joined = b"".join(extensions)
        body += struct.pack(">H", len(joined)) + joined
    message = b"\1" + len(body).to_bytes(3, "big") + body
    pieces = [message[at : at + record] for at in range(0, len(message), record)]
    return b"".join(b"\x16\3\1" + struct.pack(">H", len(piece)) + piece for piece in pieces)


def test_the_name_of_a_real_client_is_read() -> None:
    found = clienthello.read(real_hello())
    assert found is not None
    assert found.name == NAME.encode()


@given(st.lists(st.integers(1, 200), max_size=40))
def test_any_segmentation_gives_the_same_answer(sizes: list[int]) -> None:  # threats 43, fuzz target
    whole = real_hello()
    buffer = bytearray()
    found = None
    for piece in split(whole, sizes):
        assert found is None
        buffer += piece
        found = clienthello.read(buffer)
    assert found is not None
    assert found.name == NAME.encode()


@given(st.integers(1, 300))
def test_a_hello_split_over_many_records_is_read(record: int) -> None:  # threats 43
    found = clienthello.read(hello(sni(), record=record))
    assert found is not None
    assert found.name == NAME.encode()


@pytest.mark.parametrize(
    "extensions",
    [
        (), (extension(23, b""),), (extension(0xFE0D, b"x"),), (sni(b""),),
    ],
)  # fmt: skip
def test_a_hello_without_a_readable_name_is_refused(extensions: tuple[bytes, ...]) -> None:  # threats 43
    with pytest.raises(NoName):
        clienthello.read(hello(*extensions))


def test_a_real_client_without_a_name_is_refused() -> None:  # threats 43
    with pytest.raises(NoName):
        clienthello.read(real_hello(None))


@pytest.mark.parametrize("browser", [CHROME, FIREFOX], ids=["chrome", "firefox"])
def test_a_browsers_hello_is_read_and_called_encrypted(browser: bytes) -> None:  # threats 43
    found = clienthello.read(browser)
    assert found == clienthello.Hello(NAME.encode(), encrypted=True, protocols=(b"h2", b"http/1.1"))


def test_a_hello_that_hides_nothing_is_not_called_encrypted() -> None:
    assert clienthello.read(real_hello()) == clienthello.Hello(NAME.encode())


@pytest.mark.parametrize("offer", [b"\0\3\2h2\0", b"\0\4\3h2", b"\0\2\2h2", b""])
def test_a_broken_offer_of_protocols_is_refused(offer: bytes) -> None:
    with pytest.raises(NotTls):
        clienthello.read(hello(sni(), extension(16, offer)))


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(NotTls):
        clienthello.read(hello(sni(), sni(b"other.example.net")))


def test_two_names_in_one_extension_are_refused() -> None:
    entry = b"\0\0\1a"
    with pytest.raises(NotTls):
        clienthello.read(hello(extension(0, struct.pack(">H", 8) + entry + entry)))


def test_an_oversized_hello_is_refused_before_it_has_arrived() -> None:  # threats 43
    start = b"\x16\3\1\x40\0" + b"\1" + (clienthello.MAX_HELLO + 1).to_bytes(3, "big")
    with pytest.raises(NotTls):
        clienthello.read(start + bytes(100))


def test_many_tiny_records_do_not_grow_without_bound() -> None:
    endless = hello(sni(), extension(21, bytes(20000)), record=1)
    with pytest.raises(NotTls):
        clienthello.read(endless)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x02\x01\0\1\1", b"\x80\x2e\1\0\2", b"\x15\3\1\0\2\2\x28"]
)
def test_other_protocols_are_not_tls(data: bytes) -> None:  # threats 42
    with pytest.raises(NotTls):
        clienthello.read(data)


@given(st.binary(max_size=600))
def test_any_bytes_give_an_answer_or_a_refusal(data: bytes) -> None:
    for start in (b"", b"\x16\3\1", hello(sni())[:40]):
        try:
            clienthello.read(start + data)
        except (NotTls, NoName):
            pass


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_hello_never_names_another_host_silently(at: int, value: int) -> None:
    damaged = bytearray(hello(sni()))
    damaged[at % len(damaged)] = value
    try:
        clienthello.read(damaged)
    except (NotTls, NoName):
        pass
