"""Intercepted and opaque TLS, whole conversations in memory with real TLS on both sides."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from claude_bottle.gate import core, limits
from claude_bottle.gate.ca import Authority
from claude_bottle.gate.clienthello import ACCESS_DENIED, HANDSHAKE_FAILURE, UNRECOGNIZED_NAME, alert
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.tls import client_context
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook, TlsPeer
from tests.gate.browser_hellos import CHROME, FIREFOX
from tests.gate.conftest import HOST, OTHER, MakeState, server_context
from tests.gate.test_clienthello import extension, hello, real_hello, sni
from tests.gate.test_http import body

REQUEST = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
CONNECT = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n"
LONG_AGO, DAY = datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=1)
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
def play(make_state: MakeState) -> Playbook:
    """A transparent connection to the synthetic address of HOST:443. (OTHER is granted too, as 198.18.0.3.)"""
    return Playbook(make_state(Rule(HOST), Rule(OTHER)), "https", "198.18.0.2", 443)


@pytest.fixture
def opaque(make_state: MakeState) -> Playbook:
    return Playbook(make_state(Rule(HOST, tls="tunnel")), "https", "198.18.0.2", 443)


def wire(play: Playbook, data: bytes) -> bytes:
    """Raw client bytes in, raw bytes back."""
    play.sent[CLIENT].clear()
    play.event(core.Received(CLIENT, data))
    return bytes(play.sent[CLIENT])


def refused(play: Playbook) -> object:
    assert play.decisions[-1]["allow"] is False
    assert play.dials == []
    assert play.upstream_bytes() == 0
    return play.decisions[-1]["reason"]


def test_a_transparent_connection_is_intercepted_judged_and_verified(
    play: Playbook, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    client = play.secure(bottle_trust, HOST)
    assert client.tls.version() == "TLSv1.3"
    play.client(REQUEST)
    assert play.dials == [core.Dial(1, core.Origin(HOST, 443, True))]
    assert play.dialled(1, context=upstream_context) == b"GET /x HTTP/1.1\r\nhost: api.example.com\r\n\r\n"
    answer = play.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_the_same_through_connect(make_state: MakeState, bottle_trust: ssl.SSLContext) -> None:
    play = Playbook(make_state(Rule(HOST)))
    assert play.client(CONNECT) == OPENED
    play.secure(bottle_trust, HOST)
    play.client(REQUEST)
    assert play.dials[0].origin == core.Origin(HOST, 443, True)


def test_a_client_that_does_not_wait_for_the_answer_to_connect_is_understood(
    make_state: MakeState, bottle_trust: ssl.SSLContext
) -> None:
    play = Playbook(make_state(Rule(HOST)))
    client = TlsPeer(bottle_trust, HOST)
    answer = wire(play, CONNECT + client.start())
    assert answer.startswith(OPENED)
    play.peers[CLIENT] = client
    play.event(core.Received(CLIENT, client.receive(answer[len(OPENED) :])))
    play.client(REQUEST)
    assert len(play.dials) == 1


def test_tls_to_a_name_that_is_not_granted_is_a_clean_alert(play: Playbook) -> None:
    assert wire(play, real_hello("evil.test")) == alert(UNRECOGNIZED_NAME)
    assert refused(play) == reasons.HOST_NOT_GRANTED
    assert play.closed


def test_a_client_sees_the_alert_as_tls(play: Playbook, bottle_trust: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"):
        play.secure(bottle_trust, "evil.test")


def test_another_granted_name_on_this_address_is_a_mismatch(play: Playbook) -> None:  # threats 41
    assert wire(play, real_hello(OTHER)) == alert(ACCESS_DENIED)
    assert refused(play) == reasons.NAME_MISMATCH


def test_a_granted_name_dialled_by_loopback_is_a_mismatch(make_state: MakeState) -> None:  # threats 41
    play = Playbook(make_state(Rule(HOST)), "https", "127.0.0.1", 443)
    assert wire(play, real_hello()) == alert(ACCESS_DENIED)
    assert refused(play) == reasons.NAME_MISMATCH


def test_connect_to_one_name_and_tls_for_another_is_a_mismatch(make_state: MakeState) -> None:  # threats 41
    play = Playbook(make_state(Rule(HOST), Rule(OTHER)))
    play.client(CONNECT)
    assert wire(play, real_hello(OTHER)) == alert(ACCESS_DENIED)
    assert refused(play) == reasons.NAME_MISMATCH


@pytest.mark.parametrize("host", [b"other.example.net", b"evil.test", b"api.example.com:444", b"x@api.example.com"])
def test_host_must_be_the_name_of_the_tls_connection(
    play: Playbook, bottle_trust: ssl.SSLContext, host: bytes
) -> None:  # threats 41
    play.secure(bottle_trust, HOST)
    answer = play.client(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    refused(play)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"https://other.example.net/", 400),
        (b"http://api.example.com/", 400),
        (b"https://evil.test/", 400),
        (b"https://api.example.com:444/", 400),
    ],
)
def test_a_url_inside_the_tunnel_must_be_for_the_tunnels_place(
    play: Playbook, bottle_trust: ssl.SSLContext, target: bytes, status: int
) -> None:  # threats 51
    play.secure(bottle_trust, HOST)
    for host in (b"api.example.com", target.split(b"/")[2]):
        answer = play.client(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        refused(play)


def test_a_matching_url_inside_the_tunnel_goes_up_in_origin_form(
    play: Playbook, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play.secure(bottle_trust, HOST)
    play.client(b"GET https://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert play.dialled(1, context=upstream_context).startswith(b"GET /x HTTP/1.1\r\nhost: api.example.com\r\n")


def test_connect_inside_the_tunnel_is_refused(play: Playbook, bottle_trust: ssl.SSLContext) -> None:
    play.secure(bottle_trust, HOST)
    assert b" 40" in play.client(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
    refused(play)


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", b"\0\0\0\0", b"\x16\x03\x01\0\x05hello"],
)
@pytest.mark.parametrize("kind", ["inspect", "tunnel"])
def test_what_is_not_tls_on_443_never_reaches_a_server(make_state: MakeState, kind: str, data: bytes) -> None:  # threats 42
    for play in (
        Playbook(make_state(Rule(HOST, tls=kind)), "https", "198.18.0.2", 443),
        Playbook(make_state(Rule(HOST, tls=kind))),
    ):
        if play.logic.listener == "proxy":
            play.client(CONNECT)
        wire(play, data)
        assert refused(play) == reasons.NOT_TLS
        assert play.closed


@pytest.mark.parametrize("kind", ["inspect", "tunnel"])
@pytest.mark.parametrize("data", [hello(), hello(extension(0xFE0D, b"x"))])
def test_a_hello_without_a_readable_name_goes_nowhere(make_state: MakeState, kind: str, data: bytes) -> None:  # threats 43
    play = Playbook(make_state(Rule(HOST, tls=kind)), "https", "198.18.0.2", 443)
    wire(play, data)
    assert refused(play) == reasons.NO_SNI


@pytest.mark.parametrize("browser", [CHROME, FIREFOX], ids=["chrome", "firefox"])
def test_a_browsers_imitation_of_an_encrypted_hello_is_ignored_where_we_answer(play: Playbook, browser: bytes) -> None:
    assert wire(play, browser).startswith(b"\x16\3\3")  # a ServerHello
    assert play.decisions == []


@pytest.mark.parametrize(
    "data", [CHROME, FIREFOX, hello(extension(0xFE0D, b"x"), sni()), hello(sni(), extension(0xFE0D, b"x"))]
)
def test_an_encrypted_hello_never_enters_a_tunnel(opaque: Playbook, data: bytes) -> None:  # threats 43
    assert wire(opaque, data) == alert(HANDSHAKE_FAILURE)
    assert refused(opaque) == reasons.NO_SNI


def test_an_encrypted_hello_under_another_name_is_judged_by_that_name(play: Playbook) -> None:  # threats 41, 43
    wire(play, hello(sni(b"public.example.org"), extension(0xFE0D, b"x")))
    assert refused(play) == reasons.HOST_NOT_GRANTED


def test_neither_side_negotiates_twice(authority: Authority) -> None:
    for context in (authority.context(HOST), client_context()):
        assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(("offer", "reason"), [(["h2"], reasons.UPGRADE_REFUSED), (["mqtt"], reasons.NOT_HTTP)])
def test_a_client_that_speaks_no_http1_is_told_so(
    play: Playbook, offer: list[str], reason: str, authority: Authority
) -> None:  # threats 50
    context = ssl.create_default_context(cadata=authority.pem)
    context.set_alpn_protocols(offer)
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        play.secure(context, HOST)
    assert refused(play) == reason


@pytest.mark.parametrize(
    "name", [b"api.example.com\0.evil.test", b"127.0.0.1", b"api..example.com", "äpi.example.com".encode()]
)
def test_a_tls_name_that_is_no_host_is_refused(play: Playbook, name: bytes) -> None:  # threats 34
    wire(play, hello(sni(name)))
    assert refused(play) == reasons.BAD_HOST


def test_only_http1_is_offered(play: Playbook, authority: object, bottle_trust: ssl.SSLContext) -> None:  # threats 50
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=play.logic.state.authority.pem)  # type: ignore[union-attr]
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = play.secure(context, HOST)
    assert client.tls.selected_alpn_protocol() == "http/1.1"
    assert play.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400")
    refused(play)


@pytest.mark.parametrize("fault", ["self-signed", "wrong name", "expired"])
def test_a_server_that_cannot_prove_its_name_is_a_bad_gateway(
    play: Playbook, bottle_trust: ssl.SSLContext, upstream_ca: trustme.CA, fault: str
) -> None:  # threats 52
    certificate = {
        "self-signed": lambda: trustme.CA().issue_cert(HOST),
        "wrong name": lambda: upstream_ca.issue_cert("elsewhere.example.com"),
        "expired": lambda: upstream_ca.issue_cert(HOST, not_before=LONG_AGO, not_after=LONG_AGO + DAY),
    }[fault]()  # fmt: skip
    play.secure(bottle_trust, HOST)
    play.client(REQUEST)
    assert play.dialled(1, context=server_context(certificate)) == b""
    answer = play.answer()
    assert answer.startswith(b"HTTP/1.1 502")
    assert body(answer)["reason"] == reasons.UPSTREAM_TLS
    traffic = [record for record in play.records if record["kind"] == "traffic"]
    assert str(traffic[0]["why"]).startswith("upstream_tls")


def test_a_server_that_hangs_up_during_the_handshake_is_a_bad_gateway(play: Playbook, bottle_trust: ssl.SSLContext) -> None:
    play.secure(bottle_trust, HOST)
    play.client(REQUEST)
    play.event(core.Dialled(1))
    play.event(core.Ended(1))
    assert body(play.answer())["reason"] == reasons.UPSTREAM_TLS


def test_a_server_that_never_finishes_its_handshake_is_given_up(play: Playbook, bottle_trust: ssl.SSLContext) -> None:
    play.secure(bottle_trust, HOST)
    play.client(REQUEST)
    play.event(core.Dialled(1))
    timers = [command for command in play.commands if isinstance(command, core.Timer)]
    assert timers[-1] == core.Timer(limits.HANDSHAKE_TIMEOUT)
    play.event(core.Expired())
    assert body(play.answer())["reason"] == reasons.UPSTREAM_FAILED
    assert not play.closed


def test_a_truncated_tls_response_is_not_passed_on_as_whole(
    play: Playbook, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play.secure(bottle_trust, HOST)
    play.client(REQUEST)
    play.dialled(1, context=upstream_context)
    answer = play.upstream(1, b"HTTP/1.1 200 OK\r\n\r\npart")
    play.event(core.Lost(1))
    assert not (answer + play.answer()).endswith(b"0\r\n\r\n")
    assert play.closed


def test_an_opaque_tunnel_passes_the_hello_on_untouched_and_is_joined(opaque: Playbook) -> None:
    first = real_hello()
    assert wire(opaque, first[:50]) == b""
    wire(opaque, first[50:])
    assert opaque.dials == [core.Dial(1, core.Origin(HOST, 443, False), fresh=True)]
    assert opaque.dialled(1) == first
    assert opaque.commands[-1] == core.Splice(1)
    opaque.event(core.Spliced(5, 7))
    decision, traffic = opaque.records
    assert (decision["allow"], traffic["up"], traffic["down"], traffic["id"]) == (True, len(first) + 5, 7, decision["id"])


def test_an_opaque_tunnel_for_another_name_is_refused(opaque: Playbook) -> None:  # threats 41
    wire(opaque, real_hello("evil.test"))
    assert refused(opaque) == reasons.HOST_NOT_GRANTED


def test_an_opaque_port_is_dialled_by_the_address_the_client_dialled(make_state: MakeState) -> None:
    play = Playbook(make_state(Rule(HOST, port=22, tls="tunnel")), "port-22", "198.18.0.2", 22)
    assert play.dials[0].origin == core.Origin(HOST, 22, False)
    play = Playbook(make_state(Rule(HOST, port=22, tls="tunnel"), Rule(OTHER)), "port-22", "198.18.0.3", 22)
    wire(play, b"SSH-2.0-x\r\n\r\n\r\n")
    assert refused(play) in (reasons.NAME_MISMATCH, reasons.BAD_REQUEST)


def test_connect_to_an_opaque_port_answers_when_the_server_is_there(make_state: MakeState) -> None:
    state = make_state(Rule(HOST, port=22, tls="tunnel"))
    connect = CONNECT.replace(b":443", b":22")
    play = Playbook(state)
    assert play.client(connect) == b""
    play.event(core.Dialled(1))
    assert play.answer() == OPENED
    assert play.commands[-1] == core.Splice(1)
    play = Playbook(state)
    play.client(connect)
    play.event(core.DialFailed(1, reasons.UPSTREAM_FAILED, "refused"))
    assert body(play.answer())["reason"] == reasons.UPSTREAM_FAILED


def test_another_port_takes_tls_or_plain_http_by_its_first_byte(make_state: MakeState, bottle_trust: ssl.SSLContext) -> None:
    state = make_state(Rule(HOST, port=8443))
    play = Playbook(state, "port-8443", "198.18.0.2", 8443)
    play.secure(bottle_trust, HOST)
    play.client(REQUEST.replace(b"com\r", b"com:8443\r"))
    assert play.dials[0].origin == core.Origin(HOST, 8443, True)
    play = Playbook(state, "port-8443", "198.18.0.2", 8443)
    play.client(REQUEST.replace(b"com\r", b"com:8443\r"))
    assert play.dials[0].origin == core.Origin(HOST, 8443, False)


def test_a_halted_gate_begins_no_tls(play: Playbook) -> None:
    play.logic.state.halted = True
    wire(play, real_hello())
    assert refused(play) == reasons.GATE_HALTED


def test_a_client_that_says_nothing_is_let_go(play: Playbook) -> None:
    assert core.Timer(30.0) in play.commands
    play.event(core.Expired())
    assert play.closed
