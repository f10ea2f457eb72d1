"""Requests judged one by one, in memory: places, framing, forwarding, ends."""

from __future__ import annotations

import json

import pytest

from claude_bottle.gate import carried, core, limits
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.head import MAX_HEAD
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, OTHER, MakeState
from tests.gate.test_head import AMBIGUOUS

PLAIN = Rule(HOST, port=80)
GET = b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


def body(answer: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def refused(play: Playbook, answer: bytes) -> object:
    """The reason the client was given, after checking that the journal agrees and nothing went up."""
    said = body(answer)
    record = play.decisions[-1]
    assert (said["reason"], said["request_id"]) == (record["reason"], record["id"])
    assert record["allow"] is False
    assert play.upstream_bytes() == 0
    assert play.dials == []
    return said["reason"]


@pytest.fixture
def proxy(make_state: MakeState) -> Playbook:
    return Playbook(make_state(PLAIN, Rule(HOST), Rule(OTHER, port=80)))


@pytest.fixture
def direct(make_state: MakeState) -> Playbook:
    """A connection to the synthetic address of HOST, port 80."""
    return Playbook(make_state(PLAIN, Rule(OTHER, port=80)), "http", "198.18.0.2", 80)


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_request_is_refused_closed_and_sends_nothing_up(direct: Playbook, raw: bytes) -> None:  # threats 44
    answer = direct.client(raw + b"GET /second HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert refused(direct, answer) == reasons.BAD_REQUEST
    assert direct.closed


@pytest.mark.parametrize(
    "name", ["length and chunked", "a bare line feed", "two lengths", "a folded field", "bare line feeds only"]
)
def test_an_ambiguous_request_is_refused_byte_by_byte_too(direct: Playbook, name: str) -> None:  # threats 44
    answer = b"".join(direct.client(bytes((byte,))) for byte in AMBIGUOUS[name])
    assert refused(direct, answer) == reasons.BAD_REQUEST


def test_a_connect_of_old_without_host_is_refused_where_no_proxy_is(direct: Playbook) -> None:
    assert refused(direct, direct.client(b"CONNECT /x HTTP/1.0\r\n\r\n")) == reasons.BAD_HOST


def test_a_request_goes_up_written_anew(direct: Playbook) -> None:
    direct.client(
        b"GET /x?a=1 HTTP/1.1\r\nHOST: API.example.com:80\r\nX-Two:   2  \r\nConnection: keep-alive, X-Hop\r\n"
        b"X-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n"
    )
    assert direct.dialled(1) == b"GET /x?a=1 HTTP/1.1\r\nhost: api.example.com\r\nx-two: 2\r\n\r\n"
    assert direct.dials == [core.Dial(1, core.Origin(HOST, 80, False))]


def test_a_second_request_hidden_behind_the_first_is_judged_on_its_own(direct: Playbook) -> None:  # threats 45
    hidden = b"GET /hidden HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    direct.client(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\n\r\nabc" + hidden)
    assert direct.dialled(1).endswith(b"content-length: 3\r\n\r\nabc")
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert b"200 OK" in answer
    assert b"host_not_granted" in answer
    assert direct.arrived(1) == b""
    assert [record["allow"] for record in direct.decisions] == [True, False]


def test_bytes_after_a_chunked_body_are_never_forwarded(direct: Playbook) -> None:  # threats 45
    direct.client(
        b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\nGET /hidden HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    )
    up = direct.dialled(1)
    assert up.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert b"hidden" not in up + direct.arrived(1)


@pytest.mark.parametrize(
    "chunk",
    [b"g\r\n", b"-1\r\nx\r\n", b"0x3\r\nabc\r\n", b"3\nabc\n", b"3\r\nabcd\r\n", b" 3\r\nabc\r\n", b"f" * 21 + b"\r\n"],
)
def test_a_broken_chunk_ends_the_exchange(direct: Playbook, chunk: bytes) -> None:  # threats 44
    direct.client(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
    direct.dialled(1)
    answer = direct.client(chunk + b"0\r\n\r\n")
    assert b"bad_request" in answer
    assert b"0\r\n\r\n" not in direct.arrived(1)[-5:]
    assert direct.closed


def test_each_request_of_a_kept_connection_is_judged_afresh(make_state: MakeState) -> None:  # threats 46
    play = Playbook(make_state(Rule(HOST, port=80, paths=("/ok/*",), methods=("GET",))), "http", "198.18.0.2", 80)
    play.client(b"GET /ok/1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    play.dialled(1)
    play.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    for line, reason in ((b"GET /other", "path_not_granted"), (b"DELETE /ok/1", "method_not_granted")):
        answer = play.client(line + b" HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert body(answer)["reason"] == reason
    assert play.arrived(1) == b""
    play.client(b"GET /ok/2 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert play.arrived(1).startswith(b"GET /ok/2")  # the same upstream link, used again
    assert len(play.dials) == 1


@pytest.mark.parametrize(
    "target",
    [
        b"/ok/../secret",
        b"/ok/%2e%2e/secret",
        b"/ok/%2fsecret",
        b"//ok/1",
        b"/ok//1",
        b"/ok\\1",
        b"/ok/%00",
        b"/ok/%5c1",
        b"/ok/%c0%ae%c0%ae/x",
        b"/ok/%ZZ",
        b"/ok/1#f",
        b"*",
        b"ok/1",
        b"/ok/%252e%252e/x",
        b"/ok/\xc3\xa4",
    ],
)
def test_a_path_with_two_meanings_is_refused(make_state: MakeState, target: bytes) -> None:  # threats 47
    play = Playbook(make_state(Rule(HOST, port=80, paths=("/ok/*",))), "http", "198.18.0.2", 80)
    assert refused(play, play.client(b"GET " + target + b" HTTP/1.1\r\nHost: api.example.com\r\n\r\n")) == "bad_request"


def test_what_is_matched_is_what_goes_up(make_state: MakeState) -> None:  # threats 47
    play = Playbook(make_state(Rule(HOST, port=80, paths=("/ok/*",))), "http", "198.18.0.2", 80)
    play.client(b"GET /%6f%6b/a%2Db HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert play.dialled(1).startswith(b"GET /ok/a-b HTTP/1.1\r\n")


@pytest.mark.parametrize("method", [b"DELETE", b"get", b"Get", b"GETX", b"HEAD", b"TRACE", b"TRACK", b"CONNECT", b"PURGE"])
def test_a_method_that_is_not_granted_is_refused(make_state: MakeState, method: bytes) -> None:  # threats 48, 60
    play = Playbook(make_state(Rule(HOST, port=80, methods=("POST",))), "http", "198.18.0.2", 80)
    answer = play.client(method + b" / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
    assert play.upstream_bytes() == 0


def test_trace_is_refused_even_where_any_method_is_granted(direct: Playbook) -> None:  # threats 60
    assert refused(direct, direct.client(b"TRACE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")) == "method_not_granted"


@pytest.mark.parametrize(
    "name",
    [
        b"X-HTTP-Method-Override",
        b"x-http-method",
        b"X_HTTP_Method_Override",
        b"X-Method-Override",
        b"X-Original-URL",
        b"X-Rewrite-URL",
        b"X-Forwarded-Host",
        b"Forwarded",
    ],
)
def test_headers_that_change_what_was_judged_are_left_out(direct: Playbook, name: bytes) -> None:  # threats 48
    direct.client(b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n" + name + b": DELETE\r\n\r\n")
    up = direct.dialled(1)
    assert b"DELETE" not in up
    assert name.lower() not in up


@pytest.mark.parametrize(
    "fields",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x",
        b"Upgrade: anything",
    ],
)
def test_an_upgrade_is_refused(direct: Playbook, fields: bytes) -> None:  # threats 49, 50
    answer = direct.client(b"GET /ws HTTP/1.1\r\nHost: api.example.com\r\n" + fields + b"\r\n\r\n")
    assert refused(direct, answer) == reasons.UPGRADE_REFUSED


def test_an_unsolicited_switch_of_protocols_is_refused(direct: Playbook) -> None:  # threats 49
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw")
    assert body(answer)["reason"] == reasons.UPGRADE_REFUSED
    assert b"raw" not in answer
    assert core.Abort(1) in direct.commands


def test_http2_by_prior_knowledge_is_refused(direct: Playbook) -> None:  # threats 50
    answer = direct.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert refused(direct, answer) == reasons.BAD_REQUEST
    assert direct.closed


# Places


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (b"other.example.net", "name_mismatch"),
        (b"evil.test", "host_not_granted"),
        (b"evilapi.example.com", "host_not_granted"),
        (b"api.example.com.evil.test", "host_not_granted"),
        (b"user@api.example.com", "bad_host"),
        (b"api.example.com..", "bad_host"),
        (b"127.0.0.1", "bad_host"),
        (b"0x7f.1", "bad_host"),
        (b"2130706433", "bad_host"),
        (b"[::1]", "bad_host"),
        (b"api.example.com%00.evil.test", "bad_host"),
        (b"api.example.com:81", "port_not_granted"),
        (b"api.example.com:080", "bad_host"),
        (b"localhost", "host_not_granted"),
        (b"metadata.google.internal", "host_not_granted"),
        (b"", "bad_host"),
    ],
)
def test_a_host_must_be_granted_and_the_one_that_was_dialled(direct: Playbook, host: bytes, reason: str) -> None:
    # threats 32, 33, 34, 35, 38, 41
    assert refused(direct, direct.client(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == reason


@pytest.mark.parametrize("host", [b"API.EXAMPLE.COM", b"api.example.com.", b"api.example.com:80"])
def test_another_spelling_of_the_same_host_is_the_same_host(direct: Playbook, host: bytes) -> None:  # threats 35
    direct.client(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert b"host: api.example.com\r\n" in direct.dialled(1)


def test_a_host_header_cannot_turn_a_granted_connection_to_another_granted_host(direct: Playbook) -> None:  # threats 41
    answer = direct.client(b"GET / HTTP/1.1\r\nHost: other.example.net\r\n\r\n")
    assert refused(direct, answer) == reasons.NAME_MISMATCH


def test_a_raw_loopback_connection_means_no_granted_name(make_state: MakeState) -> None:
    play = Playbook(make_state(PLAIN), "http", "127.0.0.1", 80)
    assert refused(play, play.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")) == reasons.NAME_MISMATCH


@pytest.mark.parametrize(
    ("request_line", "host", "reason"),
    [
        (b"GET http://evil.test/", b"evil.test", "host_not_granted"),
        (b"GET http://api.example.com/", b"evil.test", "name_mismatch"),
        (b"GET http://evil.test/", b"api.example.com", "name_mismatch"),
        (b"GET http://api.example.com:81/", b"api.example.com:81", "port_not_granted"),
        (b"GET http://api.example.com@evil.test/", b"evil.test", "bad_host"),
        (b"GET http://evil.test#@api.example.com/", b"api.example.com", "name_mismatch"),
        (b"GET https://api.example.com/", b"api.example.com", "bad_request"),
        (b"GET ftp://api.example.com/", b"api.example.com", "bad_request"),
        (b"GET http://api.example.com:443/", b"api.example.com:443", "not_tls"),
        (b"GET /x", b"api.example.com", "bad_request"),
        (b"GET http:///x", b"api.example.com", "bad_host"),
        (b"GET http://169.254.169.254/", b"169.254.169.254", "bad_host"),
    ],
)
def test_a_proxy_request_is_judged_by_its_url(proxy: Playbook, request_line: bytes, host: bytes, reason: str) -> None:
    # threats 34, 35, 38, 41, 51
    assert refused(proxy, proxy.client(request_line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == reason


def test_a_proxy_request_goes_up_in_origin_form(proxy: Playbook) -> None:
    proxy.client(GET.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic eDp5\r\n\r\n"))
    assert proxy.dialled(1) == b"GET /x HTTP/1.1\r\nhost: api.example.com\r\n\r\n"


def test_one_proxy_connection_may_ask_two_hosts_and_each_has_its_own_link(proxy: Playbook) -> None:
    proxy.client(GET)
    proxy.dialled(1)
    proxy.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    proxy.client(GET.replace(b"api.example.com", b"other.example.net"))
    assert [dial.origin.host for dial in proxy.dials] == [HOST, OTHER]
    assert b"host: other.example.net" in proxy.dialled(2)


@pytest.mark.parametrize(
    ("target", "host", "reason"),
    [
        (b"evil.test:443", b"evil.test:443", "host_not_granted"),
        (b"api.example.com:8443", b"api.example.com:8443", "port_not_granted"),
        (b"api.example.com:443", b"evil.test:443", "name_mismatch"),
        (b"api.example.com", b"api.example.com", "bad_host"),
        (b"api.example.com:0443", b"api.example.com", "bad_host"),
        (b"127.1:443", b"127.1:443", "bad_host"),
        (b"u@api.example.com:443", b"api.example.com:443", "bad_host"),
        (b"api.example.com%00:443", b"api.example.com:443", "bad_host"),
        (b"api.example.com:443/", b"api.example.com:443", "bad_host"),
        (b"bottle.internal:80", b"bottle.internal:80", "host_not_granted"),
        (b"[::ffff:169.254.169.254]:443", b"x:443", "bad_host"),
    ],
)
def test_a_connect_target_is_judged(proxy: Playbook, target: bytes, host: bytes, reason: str) -> None:
    # threats 26, 32, 34, 35, 38, 41
    assert refused(proxy, proxy.client(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == reason


def test_a_refusal_says_what_contract_section_5_promises(direct: Playbook) -> None:
    answer = direct.client(b"GET /p?q=1 HTTP/1.1\r\nHost: evil.test\r\n\r\n")
    said = body(answer)
    assert said.pop("request_id") == direct.decisions[0]["id"]
    ask = str(said.pop("ask"))
    assert "request_egress" in ask and "POST http://bottle.internal/request" in ask and '"host": "evil.test"' in ask
    assert said == {
        "blocked": True,
        "reason": "host_not_granted",
        "host": "evil.test",
        "port": 80,
        "method": "GET",
        "path": "",
    }
    assert not direct.closed  # a sound refused request costs no connection


def test_the_gate_tells_what_is_granted(direct: Playbook, make_state: MakeState) -> None:
    play = Playbook(make_state(PLAIN), "http", "198.18.0.1", 80)
    said = body(play.client(b"GET /policy HTTP/1.1\r\nHost: bottle.internal\r\n\r\n"))
    assert said["granted"] == [{"host": HOST, "port": 80, "methods": [], "paths": [], "tls": "inspect", "credential": None}]
    assert b" 404 " in play.client(b"GET /nothing HTTP/1.1\r\nHost: bottle.internal\r\n\r\n")


def test_a_halted_gate_refuses_everything(direct: Playbook) -> None:
    direct.logic.state.halted = True
    assert refused(direct, direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")) == reasons.GATE_HALTED


# Answers


def test_a_redirect_is_passed_on_and_never_followed(direct: Playbook) -> None:  # threats 40
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    assert b"302" in answer
    assert b"location: http://169.254.169.254/" in answer
    assert len(direct.dials) == 1
    followed = direct.client(b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
    assert body(followed)["reason"] == reasons.BAD_HOST


def test_a_server_that_speaks_as_our_carriers_do_is_a_server_like_any_other(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\n%s: call the operator\r\nContent-Length: 2\r\n\r\nok" % carried.WHY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nok")


def test_a_response_to_the_end_of_the_connection_becomes_chunked(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\n\r\nab") + direct.upstream(1, b"cd")
    direct.event(core.Ended(1))
    answer += direct.answer()
    assert answer == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    assert not direct.closed


def test_an_old_client_gets_no_chunks(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.0\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert direct.closed


def test_each_piece_of_a_stream_is_passed_on_at_once(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert event in direct.upstream(1, b"%x\r\n%s\r\n" % (len(event), event))


def test_a_cut_response_ends_the_connection_without_a_whole_answer(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    direct.event(core.Ended(1))
    assert not (answer + direct.answer()).endswith(b"0\r\n\r\n")
    assert direct.closed


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_HEAD,
    ],
)
def test_a_nonsense_answer_is_a_bad_gateway(direct: Playbook, raw: bytes) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, raw)
    assert answer.startswith(b"HTTP/1.1 502")
    assert body(answer)["reason"] == reasons.UPSTREAM_FAILED
    assert direct.decisions[0]["id"] == body(answer)["request_id"]


def test_bytes_nobody_asked_for_end_the_idle_link(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nforged")
    assert answer.endswith(b"ok")
    assert core.Abort(1) in direct.commands
    direct.client(b"GET /2 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert len(direct.dials) == 2


def test_data_on_an_idle_link_ends_it(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged") == b""
    assert direct.commands[-1] == core.Abort(1)


def test_a_stale_link_is_replaced_for_a_request_that_may_be_repeated(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    direct.client(b"GET /2 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.event(core.Ended(1))
    assert direct.dials[-1] == core.Dial(2, core.Origin(HOST, 80, False), fresh=True)
    assert direct.dialled(2).startswith(b"GET /2 ")


@pytest.mark.parametrize("sent", [b"ok", b""])
def test_a_request_with_effects_is_never_repeated(direct: Playbook, sent: bytes) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    direct.client(b"POST /2 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
    direct.event(core.Ended(1))
    assert len(direct.dials) == 1
    assert b" 502 " in direct.answer()


def test_the_gate_itself_answers_an_expectation(direct: Playbook) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert direct.client(head) == b""
    assert b"expect" not in direct.dialled(1)
    assert direct.answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
    direct.client(b"ok")
    assert direct.arrived(1) == b"ok"
    answer = direct.upstream(
        1, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    )
    assert answer == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_head_request_has_no_body_and_keeps_its_length(direct: Playbook) -> None:
    direct.client(b"HEAD / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"
    assert not direct.closed


def test_a_slow_server_holds_back_the_client_and_a_slow_client_the_server(direct: Playbook) -> None:
    direct.client(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 99\r\n\r\n")
    direct.dialled(1)
    for link, other in ((1, CLIENT), (CLIENT, 1)):
        direct.event(core.Clogged(link))
        assert direct.commands[-1] == core.Pause(other)
        direct.event(core.Drained(link))
        assert core.Resume(other) in direct.commands[-2:]


def test_a_client_that_does_not_read_gets_no_further_requests_served(direct: Playbook) -> None:
    request = b"GET /%d HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    direct.client(request % 1)
    direct.dialled(1)
    direct.event(core.Clogged(CLIENT))
    direct.client(request % 2)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert b"/2" not in direct.arrived(1)
    direct.event(core.Drained(CLIENT))
    assert b"/2" in direct.arrived(1)


def test_a_request_body_waits_for_its_server_in_a_bounded_buffer(direct: Playbook) -> None:
    direct.client(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 9999999\r\n\r\n")
    direct.client(b"a" * 100_000)
    assert core.Pause(CLIENT) in direct.commands
    assert len(direct.dialled(1)) > 100_000
    assert core.Resume(CLIENT) in direct.commands[direct.commands.index(core.Pause(CLIENT)) :]


def test_thousands_of_pipelined_refusals_are_answered_one_by_one(direct: Playbook) -> None:
    one = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    assert direct.client(one * 3000).count(b"HTTP/1.1 403") == 3000


def test_a_client_that_does_not_read_is_not_read_either(direct: Playbook) -> None:  # threats 118
    one = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    direct.event(core.Clogged(CLIENT))
    assert direct.client(one * 3000) == b""
    assert direct.commands[-1] == core.Pause(CLIENT)
    direct.event(core.Drained(CLIENT))
    assert direct.answer().count(b"HTTP/1.1 403") == 3000
    assert direct.commands[-1] != core.Pause(CLIENT)
    assert core.Resume(CLIENT) in direct.commands


def test_answers_to_one_read_are_given_a_bounded_amount_at_a_time(direct: Playbook) -> None:  # threats 118
    direct.yields = False
    one = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    answers = [direct.client(one * 3000)]
    while core.Yield() in direct.commands:
        assert len(answers[-1]) < 2 * limits.HIGH_WATER
        direct.commands.remove(core.Yield())
        direct.event(core.Again())
        answers.append(direct.answer())
    assert len(answers) > 2
    assert b"".join(answers).count(b"HTTP/1.1 403") == 3000


def test_a_client_that_leaves_takes_its_upstream_link_with_it(direct: Playbook) -> None:
    direct.client(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    direct.dialled(1)
    direct.event(core.Lost(CLIENT))
    assert core.Abort(1) in direct.commands
    assert [record["why"] for record in direct.records if record["kind"] == "traffic"] == ["the client left"]


def test_a_decision_is_recorded_before_anything_goes_up_and_its_traffic_after(direct: Playbook) -> None:
    direct.client(b"POST /x?secret=1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\n\r\nabc")
    assert [record["kind"] for record in direct.records] == ["decision"]
    assert direct.upstream_bytes() == 0
    direct.dialled(1)
    direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    decision, traffic = direct.records
    assert decision["id"] == traffic["id"]
    assert decision["path"] == "/x"
    assert traffic["status"] == 200
    assert int(str(traffic["up"])) > 3
    assert "secret" not in json.dumps(direct.records)


@pytest.mark.parametrize("framing", [b"Content-Length: 11", b"Transfer-Encoding: chunked"])
def test_a_body_larger_than_its_rule_allows_is_refused(make_state: MakeState, framing: bytes) -> None:
    play = Playbook(make_state(Rule(HOST, port=80, max_body=10)), "http", "198.18.0.2", 80)
    head = b"POST /x HTTP/1.1\r\nHost: api.example.com\r\n" + framing + b"\r\n\r\n"
    if b"chunked" not in framing:
        assert refused(play, play.client(head)) == reasons.BODY_TOO_LARGE
        return
    play.client(head + b"a\r\n0123456789\r\n")
    play.dialled(1)
    answer = play.client(b"1\r\nX\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert body(answer)["reason"] == play.decisions[-1]["reason"] == reasons.BODY_TOO_LARGE
    assert core.Abort(1) in play.commands and b"X" not in play.arrived(1)
    assert play.closed


def test_of_two_rules_the_larger_body_counts(make_state: MakeState) -> None:
    small = Rule(HOST, port=80, max_body=10)
    for other in (Rule(HOST, port=80, max_body=20), PLAIN):
        play = Playbook(make_state(small, other), "http", "198.18.0.2", 80)
        play.client(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 15\r\n\r\n")
        assert len(play.dials) == 1
