"""The one decision: what is granted, and nothing else, whatever the order of the rules."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model.matching import conflicts
from claude_bottle.model.policy import REASONS, Decision, Policy, Rule

API = Rule("api.example.com")


def reason(policy: Policy, *place: Any, **how: Any) -> str:
    decision = policy.request(*place, **how) if how else policy.connect(*place)
    assert decision.allow == (decision.reason == "") == (decision.rule is not None)
    assert decision.allow or decision.reason in REASONS
    return decision.reason


HOSTS = ["a.test", "b.test", "a.b.test", "evil-a.test", "a.test.evil.test"]
PATHS = ["/", "/x", "/x/y", "/x/y/z", "/x%2Fy"]
METHODS = ["GET", "HEAD", "POST", "DELETE"]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    port = draw(st.sampled_from([443, 80, 8443]))
    credential = None if port == 80 else draw(st.sampled_from([None, "one", "two"]))
    patterns = ["/", "/x", "/x/*", "/x/**", "/*/y"] + ([] if credential else ["/**"])
    return Rule(
        draw(st.sampled_from(HOSTS[:3])),
        port,
        tuple(draw(st.lists(st.sampled_from(METHODS), max_size=2, unique=True))),
        tuple(draw(st.lists(st.sampled_from(patterns), max_size=2, unique=True))),
        credential=credential,
        note=draw(st.sampled_from(["", "a note"])),
    )


RULES = st.lists(rules(), max_size=6).filter(lambda some: not conflicts(some))
REQUESTS = st.tuples(
    st.sampled_from(HOSTS), st.sampled_from([443, 80, 8443, 22]), st.sampled_from(METHODS), st.sampled_from(PATHS)
)


@given(RULES, REQUESTS, st.booleans(), st.randoms())
def test_order_does_not_matter(some: list[Rule], asked: tuple[Any, ...], tls: bool, rng: random.Random) -> None:
    other = some.copy()
    rng.shuffle(other)
    assert Policy(some).request(*asked, tls=tls) == Policy(other).request(*asked, tls=tls)
    assert Policy(some).connect(*asked[:2]) == Policy(other).connect(*asked[:2])


@given(RULES, REQUESTS, st.booleans())
def test_removing_a_rule_never_grants(some: list[Rule], asked: tuple[Any, ...], tls: bool) -> None:
    if Policy(some).request(*asked, tls=tls).allow:
        return
    for index in range(len(some)):
        assert not Policy(some[:index] + some[index + 1 :]).request(*asked, tls=tls).allow


@given(RULES, REQUESTS, st.booleans())
def test_a_request_is_granted_exactly_when_one_rule_grants_it(some: list[Rule], asked: tuple[Any, ...], tls: bool) -> None:
    decision = Policy(some).request(*asked, tls=tls)
    alone = [rule for rule in some if Policy([rule]).request(*asked, tls=tls).allow]
    assert decision.allow == bool(alone)
    if decision.allow:
        assert decision.rule in alone and Policy(some).connect(*asked[:2]).allow
        assert (decision.rule.host, decision.rule.port) == asked[:2]
        assert (decision.rule.credential is not None) == any(rule.credential for rule in alone)


@given(RULES, st.binary(max_size=30) | st.sampled_from(HOSTS).map(str.encode))
def test_a_connection_is_granted_to_canonical_names_of_rules_only(some: list[Rule], host: bytes) -> None:
    decision = Policy(some).connect(host, 443)
    if decision.allow:
        assert decision.rule is not None
        assert host.decode().lower().removesuffix(".") == decision.rule.host


def test_case_36_no_rules_grant_nothing() -> None:
    policy = Policy([])
    assert reason(policy, "example.com", 443) == "host_not_granted"
    assert policy.names() == () and policy.ports() == ()


@pytest.mark.parametrize(
    "host",
    ["", "*", "*.com", "*.co.uk", "*.*.example.com", "a.*.example.com", "*example.com", "**", ".", " ",
     "10.0.0.0/8", "127.0.0.1", "::1", "a,b", None, 0, True, [""]],
)
def test_case_36_a_rule_for_everything_or_nothing_is_refused(host: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Rule(host)


@pytest.mark.parametrize("host", ["com", "localhost", "metadata.google.internal", "host.docker.internal", "x.local"])
def test_case_33_a_reserved_name_is_granted_only_where_the_operator_named_it(host: str) -> None:
    policy = Policy([Rule(host), API])
    assert reason(policy, host, 443) == "host_not_granted"
    assert reason(policy, host, 443, method="GET", path="/", tls=True) == "host_not_granted"
    assert policy.names() == ("api.example.com",)
    assert reason(Policy([Rule(host)], operator_named={(host, 8443)}), host, 443) == "host_not_granted"
    named = Policy([Rule(host)], operator_named={(host, 443): "an upstream"})
    assert reason(named, host, 443) == "" and named.names() == (host,)
    assert reason(named, host, 443, method="GET", path="/", tls=True) == ""


@pytest.mark.parametrize(
    "host",
    ["evilapi.example.com", "api.example.com.evil.test", "example.com", "x.api.example.com", "api.example.co",
     "api-example.com", "xn--api-example-.com", "user@api.example.com", "api.example.com#evil.test", "api.example.com.."],
)  # fmt: skip
def test_case_35_only_an_exact_label_match_passes(host: str) -> None:
    assert reason(Policy([API]), host, 443) in ("host_not_granted", "bad_host")


def test_case_35_another_case_and_the_root_dot_are_the_same_host() -> None:
    decision = Policy([Rule("API.Example.com.")]).connect(b"api.EXAMPLE.com.", 443)
    assert decision == Decision(True, "", API)


@pytest.mark.parametrize(
    "host", ["api.example.com\0", "\0", "api.example.com\n", "api%2eexample.com", "api.example\uff0ecom", "127.1", "[::1]"]
)
def test_cases_32_and_34_a_bad_name_is_refused_before_matching(host: str) -> None:
    assert reason(Policy([API]), host, 443) == "bad_host"
    assert reason(Policy([API]), host, 443, method="GET", path="/", tls=True) == "bad_host"


@pytest.mark.parametrize("port", [80, 22, 8443, 444, 0, -1, 65536])
def test_case_38_a_granted_host_on_another_port_is_refused(port: int) -> None:
    assert reason(Policy([API]), "api.example.com", port) == "port_not_granted"
    assert reason(Policy([API]), "api.example.com", port, method="GET", path="/", tls=True) == "port_not_granted"


def test_a_port_of_one_host_is_not_granted_to_another() -> None:
    policy = Policy([API, Rule("db.example.com", 5432, tls="tunnel")])
    assert reason(policy, "api.example.com", 5432) == "port_not_granted"
    assert policy.ports() == (443, 5432) and policy.names() == ("api.example.com", "db.example.com")


def test_methods_and_paths_are_judged_together_in_one_rule() -> None:
    policy = Policy([Rule("a.test", methods=("GET",), paths=("/r/**",)), Rule("a.test", methods=("POST",), paths=("/w",))])
    for method, path, expected in [
        ("GET", "/r/x", ""), ("POST", "/w", ""), ("POST", "/r/x", "path_not_granted"), ("GET", "/w", "path_not_granted"),
        ("PUT", "/w", "method_not_granted"),
    ]:  # fmt: skip
        assert reason(policy, "a.test", 443, method=method, path=path, tls=True) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [("GET", ""), ("HEAD", ""), ("get", "bad_request"), ("Get", "bad_request"), ("POST", "method_not_granted"),
     ("GETX", "method_not_granted"), ("GET ", "bad_request"), ("", "bad_request"), ("G\nET", "bad_request"),
     ("GET\n", "bad_request"), ("TRACE", "method_not_granted"), ("CONNECT", "method_not_granted")],
)  # fmt: skip
def test_case_48_a_get_rule_grants_get_and_head_in_their_one_spelling(method: str, expected: str) -> None:
    policy = Policy([Rule("a.test", methods=("GET",))])
    assert reason(policy, "a.test", 443, method=method, path="/", tls=True) == expected


def test_case_48_a_head_rule_grants_no_get_and_any_method_grants_no_trace() -> None:
    assert reason(Policy([Rule("a.test", methods=("HEAD",))]), "a.test", 443, method="GET", path="/", tls=True)
    for method in ("TRACE", "TRACK", "CONNECT"):
        assert reason(Policy([Rule("a.test")]), "a.test", 443, method=method, path="/", tls=True)
        with pytest.raises(ValueError, match="never"):
            Rule("a.test", methods=(method,))


@pytest.mark.parametrize("path", ["/r/../w", "/r//x", "/%2e%2e/w", "/r/%78", "r/x", "", "/r/x?y", "/r/é", "/r/%2fx", "/r/\0"])
def test_case_47_a_path_that_is_not_canonical_is_never_matched(path: str) -> None:
    for some in ([Rule("a.test")], [Rule("a.test", paths=("/r/**",))]):
        assert reason(Policy(some), "a.test", 443, method="GET", path=path, tls=True) == "bad_request"


def test_case_47_an_encoded_slash_must_be_covered_in_both_readings() -> None:
    def ask(paths: tuple[str, ...], path: str) -> str:
        return reason(Policy([Rule("a.test", paths=paths)]), "a.test", 443, method="GET", path=path, tls=True)

    assert ask(("/*",), "/@scope%2Fname") == "path_not_granted"
    assert ask(("/@scope/*",), "/@scope%2Fname") == "path_not_granted"
    assert ask(("/repos/acme*",), "/repos/acme%2Fx") == "path_not_granted"
    assert ask(("/*", "/@scope/*"), "/@scope%2Fname") == ""
    assert ask(("/repos/**",), "/repos/acme%2Fx") == ""
    assert ask((), "/@scope%2Fname") == ""


def test_case_64_over_plain_http_no_rule_with_a_credential_grants() -> None:
    keyed = Rule("a.test", 8080, credential="key", paths=("/v1/*",))
    assert reason(Policy([keyed]), "a.test", 8080, method="GET", path="/v1/x", tls=True) == ""
    assert reason(Policy([keyed]), "a.test", 8080, method="GET", path="/v1/x", tls=False) == "credential_needs_tls"
    both = Policy([keyed, Rule("a.test", 8080)])
    decision = both.request("a.test", 8080, "GET", "/v1/x", tls=False)
    assert decision.allow and decision.rule is not None and decision.rule.credential is None
    with pytest.raises(ValueError, match="plain http"):
        Rule("a.test", 80, credential="key")


def test_plain_http_on_the_https_port_is_refused() -> None:
    assert reason(Policy([API]), "api.example.com", 443, method="GET", path="/", tls=False) == "not_tls"
    assert reason(Policy([Rule("a.test", 80)]), "a.test", 80, method="GET", path="/", tls=False) == ""


def test_a_tunnel_grants_connections_and_no_readable_request() -> None:
    policy = Policy([Rule("db.test", 5432, tls="tunnel")])
    decision = policy.connect("db.test", 5432)
    assert decision.allow and decision.rule is not None and decision.rule.tls == "tunnel"
    assert reason(policy, "db.test", 5432, method="GET", path="/", tls=False) == "not_tls"


def test_a_rule_with_a_credential_comes_before_one_without_then_the_more_specific() -> None:
    plain = Rule("a.test", methods=("GET",), paths=("/x/y",))
    wide = Rule("a.test", credential="wide")
    narrow = Rule("a.test", credential="narrow", paths=("/x/*",))
    policy = Policy([plain, wide, narrow])
    assert policy.request("a.test", 443, "GET", "/x/y", tls=True).rule == narrow
    assert policy.request("a.test", 443, "GET", "/z", tls=True).rule == wide
    assert Policy([plain, wide]).request("a.test", 443, "GET", "/x/y", tls=True).rule == wide


def test_rules_that_differ_in_a_remark_alone_are_chosen_from_by_content() -> None:
    two = [Rule("a.test", note="one"), Rule("a.test", note="two")]
    assert Policy(two).connect("a.test", 443) == Policy(two[::-1]).connect("a.test", 443)


def test_a_tunnel_and_an_inspected_rule_for_one_place_are_in_conflict() -> None:
    two = [API, Rule("api.example.com", tls="tunnel")]
    assert conflicts(two) == conflicts(two[::-1]) != []
    with pytest.raises(ValueError, match=r"api\.example\.com:443 is a tunnel"):
        Policy(two)
    assert conflicts([API, Rule("api.example.com", 8443, tls="tunnel")]) == []


def test_two_credentials_for_the_same_requests_are_in_conflict() -> None:
    some = [Rule("a.test", credential=name, paths=("/x", "/y")) for name in ("c", "a", "b")]
    assert (
        conflicts(some) == conflicts(some[::-1]) == ["a.test:443 has the credentials a, b, c for the same requests; keep one"]
    )
    assert conflicts([*some[:1], Rule("a.test", credential="a", paths=("/x",))]) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"port": 0}, "port"), ({"port": 65536}, "port"), ({"port": "443x"}, "port"), ({"port": True}, "port"),
     ({"port": None}, "port"), ({"port": 53}, "DNS"), ({"port": 3128}, "proxy"), ({"methods": ("get",)}, "upper-case"),
     ({"methods": ("*",)}, "upper-case"), ({"methods": ("",)}, "upper-case"), ({"methods": "GET"}, "list"),
     ({"methods": None}, "list"), ({"methods": (1,)}, "list"), ({"methods": ("GET\r\nX: y",)}, "upper-case"),
     ({"paths": ("",)}, "slash"), ({"paths": ("*",)}, "slash"), ({"paths": ("/a/../b",)}, "dot"), ({"paths": "/a"}, "list"),
     ({"tls": "off"}, "inspect"), ({"tls": None}, "inspect"), ({"tls": "tunnel", "methods": ("GET",)}, "opaque"),
     ({"tls": "tunnel", "paths": ("/a",)}, "opaque"), ({"tls": "tunnel", "credential": "k"}, "opaque"),
     ({"credential": "k", "paths": ("/**",)}, r"/\*\*"), ({"credential": "k", "paths": ("/a", "/**/*")}, r"/\*\*"),
     ({"credential": "-k"}, "name"), ({"credential": ""}, "name"), ({"credential": 1}, "name"), ({"note": 1}, "text")],
)  # fmt: skip
def test_an_unsound_rule_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rule(**{"host": "a.test", **wrong})


@given(rules())
def test_a_rule_survives_its_dictionary(rule: Rule) -> None:
    assert Rule.from_dict(rule.to_dict()) == rule


@pytest.mark.parametrize("data", [{}, {"host": "a.test", "hots": 1}, {"host": None}, {"host": "a.test", "port": None}])
def test_a_damaged_dictionary_is_no_rule(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Rule.from_dict(data)
