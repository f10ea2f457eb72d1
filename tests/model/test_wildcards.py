"""Rules for every subdomain of a domain: they add up with the others, and bind nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.manifest.compare import common_rules, widening
from claude_bottle.model.changes import change_from_dict
from claude_bottle.model.hosts import covers_host
from claude_bottle.model.matching import conflicts
from claude_bottle.model.policy import Policy, Rule

WIDE, ONE = Rule("*.example.com"), Rule("a.example.com")
HOSTS = ["a.example.com", "b.example.com", "example.com", "a.b.example.com", "other.test", "*.example.com", "*.b.example.com"]
NAMES = [host for host in HOSTS if "*" not in host]


def test_case_and_the_root_dot_mean_nothing() -> None:
    assert Rule("*.Example.COM.").host == "*.example.com"
    assert Policy([WIDE]).connect(b"A.EXAMPLE.com.", 443).rule == WIDE


@pytest.mark.parametrize("more", [{"credential": "api", "paths": ("/x",)}, {"git": {"repositories": ["a/b"]}}])
def test_a_wildcard_has_neither_a_credential_nor_git(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a wildcard has neither"):
        Rule("*.example.com", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["*.internal", "*.corp", "*.svc.cluster.local", "*.home.arpa"])
def test_a_reserved_domain_is_not_granted_by_one(host: str) -> None:
    try:
        rule = Rule(host)
    except ValueError:
        return
    assert not Policy([rule]).connect(host.replace("*", "a"), 443).allow


def test_no_agent_can_ask_for_one() -> None:  # threats 77
    with pytest.raises(ValueError, match="wildcard"):
        change_from_dict({"kind": "egress", "rules": [{"host": "*.example.com"}]}, operator_named=())


def test_a_host_is_either_inspected_or_a_tunnel_by_wildcard_too() -> None:
    assert conflicts([Rule("*.example.com", tls="tunnel"), ONE])
    assert conflicts([ONE, Rule("*.example.com", tls="tunnel")])
    assert not conflicts([Rule("*.example.com", tls="tunnel"), Rule("example.com"), Rule("a.example.com", port=80)])


def test_a_host_that_is_named_counts_before_the_wildcard() -> None:
    assert Policy([WIDE, ONE]).connect("a.example.com", 443).rule == ONE
    assert Policy([ONE, WIDE]).request("a.example.com", 443, "GET", "/", tls=True).rule == ONE


RULES = st.lists(st.builds(Rule, st.sampled_from(HOSTS), st.sampled_from([443, 80])), max_size=5)
PLACES = st.tuples(st.sampled_from(NAMES), st.sampled_from([443, 80]))


@given(RULES, PLACES)
def test_a_place_is_granted_exactly_when_one_rule_covers_it(some: list[Rule], place: tuple[str, int]) -> None:
    expected = any(covers_host(rule.host, place[0]) and rule.port == place[1] for rule in some)
    assert Policy(some).connect(*place).allow == expected


BOUND = st.lists(
    st.builds(Rule, st.sampled_from(HOSTS), st.just(443), st.sampled_from([(), ("GET",), ("POST",)]))
    | st.builds(Rule, st.sampled_from(NAMES), st.just(443), st.sampled_from([(), ("GET",)]), st.just(("/x",)),
                credential=st.just("api")),
    max_size=5,
)  # fmt: skip


def granted(rules: list[Rule] | tuple[Rule, ...], name: str, method: str) -> tuple[bool, bool]:
    """Whether the request is allowed, and whether any credential but the operator's is kept away from the place."""
    bound = any(rule.credential and rule.host == name for rule in rules)
    return Policy(rules).request(name, 443, method, "/x", tls=True).allow, bound


@given(BOUND, BOUND, st.sampled_from(NAMES), st.sampled_from(["GET", "POST"]))
def test_what_does_not_widen_grants_nothing_new(old: list[Rule], new: list[Rule], name: str, method: str) -> None:
    if widening(old, new):
        return
    (before, was_bound), (after, is_bound) = granted(old, name, method), granted(new, name, method)
    assert before or not after
    assert is_bound or not (after and was_bound)


@given(BOUND, BOUND, st.sampled_from(NAMES), st.sampled_from(["GET", "POST"]))
def test_what_two_sets_have_in_common_grants_what_both_grant(
    home: list[Rule], project: list[Rule], name: str, method: str
) -> None:  # threats 126
    made, _ = common_rules(home, project)
    (allowed, bound), (mine, was_bound) = granted(made, name, method), granted(home, name, method)
    assert not allowed or (mine and granted(project, name, method)[0])
    assert bound or not (allowed and was_bound)


def test_a_named_host_is_no_more_than_its_wildcard() -> None:
    assert widening([WIDE], [ONE]) == []
    assert widening([ONE], [WIDE]) == ["reach every subdomain of example.com: any method on any path"]
    assert widening([Rule("a.example.com", paths=("/x",), credential="api")], [WIDE])
