"""Credentials: the real one goes to its place only, and no other goes there (threats 57–61, 64)."""

from __future__ import annotations

import base64
import json
import ssl

import pytest

from claude_bottle.gate import core
from claude_bottle.gate.inject import Injector
from claude_bottle.model import policy as reasons
from claude_bottle.model.credentials import BoundCredential
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, OTHER, PLACEHOLDER, SECRET, MakeState, bound
from tests.gate.test_http import body

API = Rule(HOST, paths=("/v1/*",), credential="api")
OPEN = Rule(HOST, methods=("GET",), paths=("/public",))
KEY = f"x-api-key: {PLACEHOLDER}".encode()


def secured(
    make_state: MakeState, trust: ssl.SSLContext, *rules: Rule, credential: BoundCredential | None = None, host: str = HOST
) -> Playbook:
    state = make_state(*(rules or (API, OPEN)), credentials=(credential or bound((HOST, 443)),))
    play = Playbook(state, "https", state.book.address(host) or "", 443)
    play.secure(trust, host)
    return play


def request(*fields: bytes, target: bytes = b"/v1/x", host: str = HOST, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1", b"Host: " + host.encode(), *fields)) + b"\r\n\r\n"


def refused(play: Playbook, data: bytes) -> object:
    answer = play.client(data)
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 503")), answer
    assert play.dials == []
    assert play.upstream_bytes() == 0
    assert SECRET not in json.dumps(play.records) + answer.decode()
    return body(answer)["reason"]


def test_the_secret_goes_up_where_the_placeholder_stood(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust)
    play.client(request(KEY))
    up = play.dialled(1, context=upstream_context)
    assert f"x-api-key: {SECRET}\r\n".encode() in up
    assert PLACEHOLDER.encode() not in up
    assert SECRET not in json.dumps(play.records)


def test_the_credentials_own_format_is_used(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    credential = bound((HOST, 443), header="Authorization", form="Bearer {secret}")
    play = secured(make_state, bottle_trust, credential=credential)
    play.client(request(f"Authorization: token {PLACEHOLDER}".encode()))
    assert f"authorization: Bearer {SECRET}\r\n".encode() in play.dialled(1, context=upstream_context)


@pytest.mark.parametrize(
    "form", ["x:{}", "x-access-token:{}", "some.one+tag@example.com:{}", ":{}", "{}:", "{}", "{}:x-oauth-basic"]
)
def test_a_placeholder_inside_basic_is_replaced_there(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext, form: str
) -> None:
    credential = bound((HOST, 443), header="Authorization", form="Bearer {secret}")
    play = secured(make_state, bottle_trust, credential=credential)
    play.client(request(b"Authorization: Basic " + base64.b64encode(form.format(PLACEHOLDER).encode())))
    expected = b"authorization: Basic " + base64.b64encode(form.format(SECRET).encode()) + b"\r\n"
    assert expected in play.dialled(1, context=upstream_context)


@pytest.mark.parametrize(
    "form",
    [
        "ghp_" + "a" * 36 + ":{}", "{}:attacker", "attacker:x{}", "{}{}", "a:b:{}", "{}:{}", "{0}:x-oauth-basic:{0}",
        "a\r\nX: y:{}",
    ],
)  # fmt: skip
def test_a_placeholder_carries_no_second_credential_in_basic(
    make_state: MakeState, bottle_trust: ssl.SSLContext, form: str
) -> None:  # threats 59
    credential = bound((HOST, 443), header="Authorization", form="Bearer {secret}")
    play = secured(make_state, bottle_trust, credential=credential)
    value = base64.b64encode(form.format(PLACEHOLDER, PLACEHOLDER).encode())
    assert refused(play, request(b"Authorization: Basic " + value)) == reasons.CREDENTIAL_FOREIGN


def test_another_spelling_of_the_bound_header_is_the_bound_header(
    make_state: MakeState, bottle_trust: ssl.SSLContext
) -> None:  # threats 58
    credential = bound((HOST, 443), header="X-Company-Pass")
    for field in (b"X_Company_Pass: attacker", b"X-Company_Pass: attacker", b"x-company-pass: attacker"):
        assert refused(secured(make_state, bottle_trust, credential=credential), request(field)) == reasons.CREDENTIAL_FOREIGN


def test_a_request_without_a_credential_goes_up_without_one(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust)
    play.client(request())
    assert SECRET.encode() not in play.dialled(1, context=upstream_context)


def test_a_placeholder_for_an_unbound_host_is_refused(
    make_state: MakeState, bottle_trust: ssl.SSLContext
) -> None:  # threats 57
    play = secured(make_state, bottle_trust, API, Rule(OTHER), host=OTHER)
    assert refused(play, request(KEY, host=OTHER)) == reasons.CREDENTIAL_FOREIGN


def test_a_placeholder_under_a_rule_without_its_credential_is_refused(
    make_state: MakeState, bottle_trust: ssl.SSLContext
) -> None:  # threats 66
    play = secured(make_state, bottle_trust)
    assert refused(play, request(KEY, target=b"/public")) == reasons.CREDENTIAL_FOREIGN


@pytest.mark.parametrize(
    "data",
    [
        request(f"X-Other: {PLACEHOLDER}".encode()),
        request(f"Authorization: Bearer {PLACEHOLDER}".encode()),
        request(f"{PLACEHOLDER}: x".encode()),
        request(target=f"/v1/{PLACEHOLDER}".encode()),
        request(KEY, KEY),
        request(target=f"/v1/x?q={PLACEHOLDER}".encode()),
        request(target=b"/v1/x?q=%73%6b" + PLACEHOLDER[2:].encode()),
        request(f"Cookie: a={PLACEHOLDER}".encode()),
        request(b"X-Other: Basic " + base64.b64encode(f"x:{PLACEHOLDER}".encode())),
    ],
)
def test_a_placeholder_in_any_other_place_is_refused(
    make_state: MakeState, bottle_trust: ssl.SSLContext, data: bytes
) -> None:  # threats 57
    assert refused(secured(make_state, bottle_trust), data) == reasons.CREDENTIAL_FOREIGN


@pytest.mark.parametrize(
    "field",
    [
        b"x-api-key: sk-attacker",
        b"X-API-KEY: sk-attacker",
        b"Authorization: Bearer attacker",
        b"Proxy-Authorization: Basic eDp5",
        b"X-Goog-Api-Key: a",
        b"Api-Key: a",
        b"apikey: a",
        b"Private-Token: a",
        b"JOB-TOKEN: a",
        b"X-Auth-Token: a",
        b"X-Access-Token: a",
        b"X-Amz-Security-Token: a",
        b"X_Api_Key: a",
        b"X-Auth-Key: a",
        b"Authorisation: a",
        b"X-GitHub-Token: a",
        b"x-api-key:",
    ],
)
def test_another_credential_on_a_bound_host_is_refused(
    make_state: MakeState, bottle_trust: ssl.SSLContext, field: bytes
) -> None:  # threats 58, 59
    for data in (request(field), request(field, target=b"/public"), request(KEY, field)):
        assert refused(secured(make_state, bottle_trust), data) == reasons.CREDENTIAL_FOREIGN


@pytest.mark.parametrize(
    "query",
    [
        b"access_token=a",
        b"api_key=a",
        b"key=a",
        b"token=a",
        b"a=1&private_token=a",
        b"%61ccess_token=a",
        b"a;token=a",
        b"client_secret=a",
        b"X-Amz-Signature=a",
        b"apiKey=a",
    ],
)
def test_another_credential_in_the_query_is_refused(
    make_state: MakeState, bottle_trust: ssl.SSLContext, query: bytes
) -> None:  # threats 59
    assert refused(secured(make_state, bottle_trust), request(target=b"/v1/x?" + query)) == reasons.CREDENTIAL_FOREIGN


def test_cookies_never_reach_a_bound_host(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:  # threats 59
    play = secured(make_state, bottle_trust)
    play.client(request(KEY, b"Cookie: session=attacker", b"Cookie: b=2"))
    assert b"cookie" not in play.dialled(1, context=upstream_context)


def test_ordinary_headers_of_api_clients_pass(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    ordinary = (
        b"anthropic-version: 2023-06-01",
        b"anthropic-beta: a,b",
        b"x-app: cli",
        b"User-Agent: claude-cli/2",
        b"x-stainless-os: Linux",
        b"X-Claude-Code-Session-Id: 1",
        b"anthropic-dangerous-direct-browser-access: true",
        b"Accept: */*",
        b"Idempotency-Key: a",
        b"X-GitHub-Api-Version: 2022",
        b"If-None-Match: x",
        b"X-CSRF: 1",
    )
    play = secured(make_state, bottle_trust)
    play.client(request(KEY, *ordinary, target=b"/v1/x?beta=true&page_token=3"))
    up = play.dialled(1, context=upstream_context).lower()
    assert all(field.lower() in up for field in ordinary)


def test_other_hosts_may_have_whatever_credentials_the_bottle_has(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust, API, Rule(OTHER), host=OTHER)
    play.client(request(b"Authorization: Bearer own", b"Cookie: a=1", host=OTHER))
    up = play.dialled(1, context=upstream_context)
    assert b"authorization: Bearer own" in up
    assert b"cookie: a=1" in up


@pytest.mark.parametrize("listener", ["http", "proxy"])
def test_a_credential_is_never_sent_without_tls(make_state: MakeState, listener: str) -> None:  # threats 64
    state = make_state(API, Rule(HOST, port=80), credentials=(bound((HOST, 443)),))
    play = Playbook(state, listener, "198.18.0.2", 80)
    target = b"http://api.example.com/v1/x" if listener == "proxy" else b"/v1/x"
    assert refused(play, request(KEY, target=target)) == reasons.CREDENTIAL_NEEDS_TLS
    assert refused(play, request(b"x-api-key: attacker", target=target)) == reasons.CREDENTIAL_FOREIGN


def test_signing_in_at_the_proxy_means_nothing_and_goes_nowhere(make_state: MakeState) -> None:  # threats 123
    state = make_state(API, Rule(HOST, port=80), credentials=(bound((HOST, 443)),))
    play = Playbook(state)
    play.client(request(b"Proxy-Authorization: Basic eDp5", target=b"http://api.example.com/"))
    assert play.dialled(1) == b"GET / HTTP/1.1\r\nhost: api.example.com\r\n\r\n"


def test_a_secret_echoed_in_response_headers_is_taken_out(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:  # threats 60
    play = secured(make_state, bottle_trust)
    play.client(request(KEY))
    play.dialled(1, context=upstream_context)
    echo = base64.b64encode(f"x:{SECRET}".encode()).decode()
    head = f"HTTP/1.1 200 {SECRET}\r\nX-Echo: key={SECRET}; {SECRET}\r\nX-B: Basic {echo}\r\nContent-Length: 0\r\n\r\n"
    answer = play.upstream(1, head.encode())
    assert SECRET.encode() not in answer
    assert echo.encode() not in answer
    assert answer.count(b"[redacted]") == 4


def test_a_redirect_of_a_credentialed_request_carries_no_credential_on(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:  # threats 61
    play = secured(make_state, bottle_trust, API, Rule(OTHER), Rule(HOST, port=8443))
    play.client(request(KEY))
    play.dialled(1, context=upstream_context)
    play.upstream(1, b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://other.example.net/\r\nContent-Length: 0\r\n\r\n")
    assert len(play.dials) == 1
    for host, port in ((OTHER, 443), (HOST, 8443)):
        state = play.logic.state
        listener = "https" if port == 443 else f"port-{port}"
        again = Playbook(state, listener, state.book.address(host) or "", port)
        again.secure(bottle_trust, host)
        authority = host if port == 443 else f"{host}:{port}"
        assert refused(again, request(KEY, host=authority)) == reasons.CREDENTIAL_FOREIGN


def test_a_refreshed_secret_is_used_from_then_on(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust)
    state = play.logic.state
    state.injector = state.injector.refreshed({"api": "sk-new", "unknown": "x"})
    play.client(request(KEY))
    assert b"x-api-key: sk-new\r\n" in play.dialled(1, context=upstream_context)


def test_an_expired_secret_is_refused_until_there_is_a_new_one(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust)
    state = play.logic.state
    state.injector = state.injector.refreshed({"api": None})
    assert refused(play, request(KEY)) == reasons.CREDENTIAL_EXPIRED
    state.injector = state.injector.refreshed({"unknown": "x"})
    again = Playbook(state, "https", state.book.address(HOST) or "", 443)
    again.secure(bottle_trust, HOST)
    assert refused(again, request(KEY)) == reasons.CREDENTIAL_EXPIRED
    state.injector = state.injector.refreshed({"api": "sk-new"})
    last = Playbook(state, "https", state.book.address(HOST) or "", 443)
    last.secure(bottle_trust, HOST)
    last.client(request(KEY))
    assert b"x-api-key: sk-new\r\n" in last.dialled(1, context=upstream_context)


def test_an_injector_shows_no_secret() -> None:
    assert SECRET not in repr(Injector((bound((HOST, 443)),))) + repr(bound((HOST, 443)))


def test_a_link_of_a_credentialed_request_serves_only_its_own_origin(
    make_state: MakeState, bottle_trust: ssl.SSLContext, upstream_context: ssl.SSLContext
) -> None:
    play = secured(make_state, bottle_trust)
    play.client(request(KEY))
    play.dialled(1, context=upstream_context)
    play.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    play.event(core.Lost(0))
    released = [command.origin for command in play.commands if isinstance(command, core.Release)]
    assert released == [core.Origin(HOST, 443, True)]
