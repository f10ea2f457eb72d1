"""What may be done with a repository: grants check themselves, and none covers more than it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model.git_grant import GitGrant, is_ref, matches, size, size_text
from claude_bottle.model.policy import Policy, Rule

REPOSITORIES = ("acme/shop", "acme/*", "acme/other", "group/sub/tool", "group/*/tool")
REFS = ("refs/heads/bottle/*", "refs/heads/bottle/x", "refs/heads/main", "refs/tags/v*", "refs/heads/bottle/a/*")


def grants() -> st.SearchStrategy[GitGrant]:
    return st.builds(
        lambda repositories, fetch, push, force, delete, most: GitGrant(
            tuple(repositories), fetch or not push, tuple(push), bool(push) and force, bool(push) and delete, most
        ),
        st.lists(st.sampled_from(REPOSITORIES), min_size=1, max_size=3), st.booleans(),
        st.lists(st.sampled_from(REFS), max_size=3), st.booleans(), st.booleans(), st.sampled_from((1 << 20, 50 << 20)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    [
        "*", "refs/*", "refs/heads/*", "refs/tags/*", "main", "HEAD", "refs/notes/x", "refs/replace/*", "refs/heads/",
        "refs/heads/a*b", "refs/heads/*/a", "refs/heads/../x", "refs/heads/a.lock", "refs/heads/.a", "refs/heads/a b",
        "refs/heads/a~1", "refs/heads/-x", "refs/pull/1/head", "refs/heads/a\u202eb", "refs/heads/a\x1b", "refs/heads//a",
        "refs/heads/a..b", "refs/heads/" + "a" * 300, "REFS/heads/a",
    ],
)  # fmt: skip
def test_case_81_what_is_no_plain_branch_or_tag_cannot_be_granted(pattern: str) -> None:
    with pytest.raises(ValueError):
        GitGrant(("acme/shop",), push=(pattern,))


@pytest.mark.parametrize(
    "path", ["", "*", "*/shop", "acme/../x", "acme//shop", "acme/sh op", "acme/%2e", "acme/**", "a?b", ".git"]
)
def test_a_repository_is_a_plain_path(path: str) -> None:
    with pytest.raises(ValueError):
        GitGrant((path,))


def test_a_repository_may_be_written_with_and_without_git_at_its_end() -> None:
    assert GitGrant(("/acme/shop.git",)) == GitGrant(("acme/shop",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"force": True}, {"delete": True}, {"fetch": False}, {"max_pack": 0}, {"max_pack": True}, {"fetch": 1}, {"push": "x"},
        {"repositories": []}, {"repositories": "acme/shop"}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_grant_that_makes_no_sense_does_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        GitGrant.from_dict({"repositories": ["acme/shop"], **wrong})


@given(grants())
def test_it_survives_being_written_and_read(grant: GitGrant) -> None:
    assert GitGrant.from_dict(grant.to_dict()) == grant
    assert Rule.from_dict(Rule("git.example.com", git=grant).to_dict()).git == grant
    assert grant.covers(grant)


@given(grants(), grants())
def test_what_two_grants_have_in_common_is_covered_by_both(one: GitGrant, other: GitGrant) -> None:
    both = one.meet(other)
    assert both is None or (one.covers(both) and other.covers(both))
    if one.covers(other):
        assert both is not None


@given(grants(), grants(), st.sampled_from(("acme/shop", "acme/other", "group/a/tool")), st.sampled_from((*REFS[1:3], "x")))
def test_a_grant_that_covers_another_allows_whatever_that_one_does(
    wide: GitGrant, narrow: GitGrant, repository: str, ref: str
) -> None:
    if wide.covers(narrow):
        assert wide.names(repository) or not narrow.names(repository)
        assert wide.may_push(ref) or not narrow.may_push(ref)


def test_a_star_stands_for_something_and_only_at_the_end() -> None:
    assert matches("refs/heads/bottle/*", "refs/heads/bottle/a/b")
    assert not matches("refs/heads/bottle/*", "refs/heads/bottle/")
    assert not matches("refs/heads/bottle/*", "refs/heads/Bottle/x")
    assert not is_ref("refs/heads/bottle/")


def test_sizes_are_read_and_written() -> None:
    assert [size("10"), size("3k"), size("50M"), size("1g")] == [10, 3072, 50 << 20, 1 << 30]
    assert [size_text(50 << 20), size_text(1536), size_text(7)] == ["50m", "1536", "7"]
    for text in ("", "m", "1.5m", "-1", "50 m"):
        with pytest.raises(ValueError):
            size(text)


def test_a_rule_for_git_grants_git_alone() -> None:
    grant = GitGrant(("acme/shop",))
    for wrong in ({"methods": ("GET",)}, {"paths": ("/a",)}, {"tls": "tunnel"}, {"port": 80}):
        with pytest.raises(ValueError):
            Rule("git.example.com", git=grant, **wrong)  # type: ignore[arg-type]
    policy = Policy([Rule("git.example.com", git=grant)])
    assert not policy.request("git.example.com", 443, "GET", "/acme/shop", tls=True).allow
    assert not policy.request("git.example.com", 443, "GET", "/", tls=True).allow


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
def test_where_there_are_rules_for_git_no_other_rule_grants_a_push(service: str, tls: bool) -> None:
    policy = Policy([Rule("git.example.com", 8443), Rule("git.example.com", 8443, git=GitGrant(("acme/shop",)))])
    asked = policy.request("git.example.com", 8443, "POST", f"/acme/shop.git/{service}", tls=tls)
    assert asked.allow == (service == "git-upload-pack")  # that, the ordinary rule grants too
    assert asked.reason == ("" if asked.allow else "git_not_granted" if tls else "not_tls")
