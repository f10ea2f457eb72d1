"""Comparisons err to one side: nothing that grows goes unnamed, nothing merged is wider than the home's."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claude_bottle.manifest.bottle import Bottle
from claude_bottle.manifest.compare import bottle_widening, common_rules, narrow, widening
from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.matching import conflicts
from claude_bottle.model.plan import Mount
from claude_bottle.model.policy import Policy, Rule
from tests.model.test_urlpath import PATHS, PATTERNS

HOST = "api.example.com"


def rule(*paths: str, methods: tuple[str, ...] = (), **keys: object) -> Rule:
    return Rule(HOST, methods=methods, paths=paths, **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([rule()], [rule()]),
        ([rule()], [rule("/a")]),
        ([rule()], []),
        ([rule("/a/**")], [rule("/a/b/*")]),
        ([rule(methods=("GET",))], [rule(methods=("HEAD",))]),
        ([rule("/a"), rule("/b")], [rule("/a", "/b")]),
        ([rule("/a", methods=("GET", "POST"))], [rule("/a", methods=("GET",)), rule("/a", methods=("POST",))]),
        ([rule(tls="tunnel")], [rule("/a")]),
        ([rule(note="x")], [rule(note="y")]),
    ],
)
def test_what_was_granted_before_is_no_widening(old: list[Rule], new: list[Rule]) -> None:
    assert widening(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ([], [rule()], "reach api.example.com: any method on any path"),
        ([rule("/a")], [rule()], "any method on any path"),
        ([rule("/a")], [rule("/a", "/b")], "any method /b"),
        ([rule("/a/*")], [rule("/a/**")], "/a/**"),
        ([rule(methods=("GET",))], [rule(methods=("GET", "PUT"))], "reach api.example.com: PUT on any path"),
        ([rule(methods=("HEAD",))], [rule(methods=("GET",))], "GET"),
        ([rule()], [rule(tls="tunnel")], "unseen"),
        ([rule()], [Rule(HOST, port=8443)], "api.example.com:8443"),
        ([rule("/a")], [rule("/a", credential="k")], "with the credential k"),
        ([rule("/a", credential="k")], [rule("/a", credential="other")], "with the credential other"),
        ([rule("/a", credential="k")], [rule("/a")], "no longer bound to the credential k"),
        (
            [rule("/a", methods=("GET",)), rule("/b", methods=("POST",))],
            [rule("/a", "/b", methods=("GET", "POST"))],
            "GET, POST /b, /a",
        ),
    ],
)
def test_case_110_what_grows_is_named(old: list[Rule], new: list[Rule], words: str) -> None:
    assert any(words in line for line in widening(old, new)), widening(old, new)


def spec(variable: str) -> CredentialSpec:
    return CredentialSpec("k", "env", variable, "K", "x-api-key")


def test_case_110_credentials_mounts_and_the_workspace_grow_too() -> None:
    rules = (rule("/a", credential="k"),)
    old = Bottle("b", rules=rules, credentials={"k": (spec("A"),)}, mounts=(Mount("/a", "/srv/a", "rw"),))
    new = Bottle(
        "b", rules=rules, credentials={"k": (spec("B"),)}, workspace="bind",
        mounts=(Mount("/a", "/srv/a", "ro"), Mount("/b", "/srv/b", "rw")),
    )  # fmt: skip
    assert bottle_widening(old, old) == []
    assert bottle_widening(old, new) == [
        "read your variable $B (credential k, sent in the header x-api-key)",
        "read and write /b (as /srv/b)",
        "read and write the directory it is started from",
    ]


def test_a_mount_that_becomes_writable_is_a_widening() -> None:
    old, new = (Bottle("b", mounts=(Mount("/a", "/srv/a", mode),)) for mode in ("ro", "rw"))
    assert bottle_widening(old, new) == ["read and write /a (as /srv/a)"]


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    made = []
    for _ in range(draw(st.integers(0, 3))):
        keys: dict[str, object] = {
            "host": draw(st.sampled_from([HOST, "b.example.com"])),
            "methods": tuple(draw(st.lists(st.sampled_from(["GET", "HEAD", "POST"]), max_size=2, unique=True))),
            "paths": tuple(draw(st.lists(PATTERNS, max_size=2, unique=True))),
            "credential": draw(st.sampled_from([None, "k", "j"])),
        }
        if draw(st.integers(0, 5)) == 0:
            keys |= {"tls": "tunnel", "methods": (), "paths": (), "credential": None}
        try:
            made.append(Rule(**keys))  # type: ignore[arg-type]
        except ValueError:
            continue
    return () if conflicts(made) else tuple(made)


REQUESTS = st.tuples(
    st.sampled_from([HOST, "b.example.com"]), st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    PATHS.filter(lambda path: "//" not in path),
)  # fmt: skip


@given(rules(), rules(), REQUESTS)
@settings(max_examples=400, deadline=None)
def test_a_merged_bottle_is_never_wider_than_the_home_bottle(
    home: tuple[Rule, ...], project: tuple[Rule, ...], request: tuple[str, str, str]
) -> None:
    both, _ = narrow(Bottle("b", rules=home), Bottle("b", rules=project))
    host, method, path = request
    merged, mine, theirs = Policy(both.rules), Policy(home), Policy(project)
    assert widening(home, both.rules) == []
    if merged.request(host, 443, method, path, tls=True).allow:
        for policy in (mine, theirs):
            allowed = policy.request(host, 443, method, path, tls=True)
            opaque = policy.connect(host, 443).rule
            assert allowed.allow or (opaque is not None and opaque.tls == "tunnel")
    if merged.connect(host, 443).allow:
        binds = [any(one.credential for one in some if one.host == host) for some in (home, both.rules)]
        assert binds[0] == binds[1], "a bound host came out unbound"


@pytest.mark.parametrize(
    ("paths", "left"), [(("/*/**",), None), (("/*/**", "/a/*"), ("/a/*",)), (("/**/*",), None), (("/*/**", "/**"), ())]
)
def test_a_narrowing_by_stars_alone_never_meets_a_credential(paths: tuple[str, ...], left: tuple[str, ...] | None) -> None:
    made, _ = common_rules([Rule(HOST, credential="k")], [Rule(HOST, paths=paths)])
    assert [(rule.paths, rule.credential) for rule in made] == ([] if left is None else [(left, "k")])


@given(rules(), rules(), REQUESTS)
@settings(max_examples=400, deadline=None)
def test_whatever_is_newly_allowed_is_named(
    old: tuple[Rule, ...], new: tuple[Rule, ...], request: tuple[str, str, str]
) -> None:
    host, method, path = request
    before = Policy(old).request(host, 443, method, path, tls=True)
    opaque = Policy(old).connect(host, 443).rule
    if Policy(new).request(host, 443, method, path, tls=True).allow and not before.allow:
        assert widening(old, new) or (opaque is not None and opaque.tls == "tunnel")


@given(rules())
@settings(max_examples=150, deadline=None)
def test_a_bottle_narrowed_by_itself_loses_nothing(some: tuple[Rule, ...]) -> None:
    # With two credentials for overlapping requests on one host, one of them has to win.
    assume(len({one.credential for one in some if one.credential}) < 2)
    both, left_out = narrow(Bottle("b", rules=some), Bottle("b", rules=some))
    assert widening(both.rules, some) == []
    assert left_out == []


def git_rule(*push: str, **more: object) -> Rule:
    return Rule(HOST, git=GitGrant(more.pop("repositories", ("acme/shop",)), push=push, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([git_rule()], [git_rule()]),
        ([git_rule("refs/heads/bottle/*")], [git_rule("refs/heads/bottle/x")]),
        ([git_rule("refs/heads/b/*", force=True)], [git_rule("refs/heads/b/*")]),
        ([git_rule("refs/heads/b/*")], [git_rule("refs/heads/b/*", max_pack=1 << 20)]),
        ([rule(), git_rule()], [git_rule()]),
    ],
)
def test_less_of_git_is_no_widening(old: list[Rule], new: list[Rule]) -> None:
    assert widening(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ([], [git_rule()], "git: fetch in acme/shop"),
        ([git_rule()], [git_rule("refs/heads/bottle/*")], "push refs/heads/bottle/* (new commits only, at most 50m)"),
        ([git_rule("refs/heads/b/*")], [git_rule("refs/heads/b/*", force=True)], "rewriting history"),
        ([git_rule("refs/heads/b/*")], [git_rule("refs/heads/b/*", delete=True)], "deleting"),
        ([git_rule("refs/heads/b/*")], [git_rule("refs/heads/b/*", max_pack=1 << 30)], "at most 1g"),
        ([git_rule()], [git_rule(repositories=("acme/*",))], "acme/*"),
        ([git_rule("refs/heads/b/*", fetch=False)], [git_rule("refs/heads/b/*")], "fetch"),
        ([rule()], [rule(), git_rule("refs/heads/b/*")], "push"),
        ([rule(), git_rule()], [rule()], "no longer judged as git"),
    ],
)
def test_case_110_more_of_git_is_named(old: list[Rule], new: list[Rule], words: str) -> None:
    assert any(words in line for line in widening(old, new)), widening(old, new)


def test_a_project_cannot_lose_the_rule_that_judges_pushes() -> None:
    home, project = [rule(), git_rule()], [rule()]
    assert common_rules(home, project)[0] == ()
    assert common_rules(project, home)[0] == ()
    both = common_rules(home, [rule("/a"), git_rule("refs/heads/x")])[0]
    assert {one.git.push for one in both if one.git} == {()}


@pytest.mark.parametrize("signs", [True, False])
def test_whether_commits_are_signed_with_the_operators_key_is_the_homes_to_say(signs: bool) -> None:
    home, project = git_rule("refs/heads/b/*", sign=signs), git_rule("refs/heads/b/*", sign=not signs)
    made, _ = common_rules([home], [project])
    assert [one.git.sign for one in made if one.git] == [signs]
    assert not widening([home], made)


def test_a_websocket_and_a_larger_body_are_more() -> None:
    plain, small = Rule("a.test"), Rule("a.test", max_body=10)
    assert widening([plain], [Rule("a.test", websocket=True)]) == [
        "reach a.test: any method on any path, and as a WebSocket, unseen"
    ]
    assert widening([small], [plain]) and widening([small], [Rule("a.test", max_body=11)])
    assert not widening([Rule("a.test", websocket=True)], [small])
    made, _ = common_rules([Rule("a.test", websocket=True)], [small])
    assert made == (small,)
