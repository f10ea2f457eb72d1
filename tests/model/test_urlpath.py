"""Request targets: one canonical path, or a refusal; and the patterns that match it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.model.urlpath import (
    MAX_PATTERN,
    MAX_TARGET,
    BadTarget,
    canonical_target,
    compile_pattern,
    covers_path,
    is_canonical,
    readings,
)

PIECES = st.sampled_from(
    [b"/", b"//", b"a", b"b", b".", b"..", b"...", b"%2e", b"%2E%2e", b"%2f", b"%2F", b"%5c", b"\\", b"%00", b"%", b"%2",
     b"%25", b"%252e", b"%c0%ae", b"%e2%80%a6", b"%ef%bc%8f", b"%C3%A9", b"\xc3\xa9", b"?", b"q=1", b"#", b";", b"..;", b" ",
     b"\t", b"\n", b"*", b"@scope", b"~", b"%7e", b"|", b"{}", b"%41", b"%3b", b"%0d%0a", b"%c2%85"]
)  # fmt: skip
TARGETS = st.lists(PIECES, max_size=10).map(b"".join).map(lambda raw: b"/" + raw) | st.binary(max_size=40)


@given(TARGETS)
def test_canonicalising_twice_changes_nothing(raw: bytes) -> None:
    try:
        target = canonical_target(raw)
    except BadTarget as bad:
        assert bad.reason.isprintable()
        return
    assert canonical_target(target.wire) == target
    assert is_canonical(target.path)


@given(TARGETS)
def test_no_server_can_read_another_path_into_a_canonical_one(raw: bytes) -> None:
    try:
        target = canonical_target(raw)
    except BadTarget:
        return
    wire = target.wire.decode("ascii")
    assert wire.isprintable() and " " not in wire and "\\" not in wire
    assert urlsplit("https://h" + wire).path == target.path
    once = unquote(target.path, errors="strict")
    for reading in (target.path, once, unquote(once)):
        segments = reading.split("/")
        assert not {".", ".."} & {segment.partition(";")[0] for segment in segments}
        assert "" not in segments[1:-1]
        assert all(char >= " " and not "\x7f" <= char <= "\x9f" and char != "\\" for char in reading)


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [(b"/", "/", None), (b"/v1/messages?beta=true", "/v1/messages", "beta=true"), (b"/a?", "/a", ""),
     (b"/%41%7e%2d", "/A~-", None), (b"/%c3%a9", "/%C3%A9", None), (b"/@scope%2fname", "/@scope%2Fname", None),
     (b"/a|b{c}", "/a%7Cb%7Bc%7D", None), (b"/a;v=1/b", "/a;v=1/b", None), (b"/a/", "/a/", None),
     (b"/a?b?c=//../%zz", "/a", "b?c=//../%zz"), (b"/100%25", "/100%25", None), (b"/...", "/...", None)],
)  # fmt: skip
def test_a_plain_target_has_one_spelling(raw: bytes, path: str, query: str | None) -> None:
    target = canonical_target(raw)
    assert (target.path, target.query) == (path, query)
    assert target.wire == (path + ("" if query is None else "?" + query)).encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"/../x", "dot"), (b"/a/..", "dot"), (b"/./a", "dot"), (b"/%2e%2e/x", "dot"), (b"/a/.%2E/x", "dot"),
     (b"/a/..%2fx", "dot"), (b"/a%2f..%2fx", "dot"), (b"/a/..;/x", "dot"), (b"/a/..%3bx/y", "dot"), (b"/;/x", "dot"),
     (b"//evil.test/x", "empty"), (b"/a//b", "empty"), (b"/a/%2fb", "empty"), (b"/a%2f%2Fb", "empty"),
     (b"/a\\b", "backslash"), (b"/a%5cb", "backslash"), (b"/a%5C..%5cb", "backslash"), (b"/a%00", "control"),
     (b"/a%0d%0aX:%20y", "control"), (b"/a%7f", "control"), (b"/a%c2%85", "control"), (b"/a\0", "control"),
     (b"/a\xe9", "non-ASCII"), (b"/%c0%ae%c0%ae/x", "UTF-8"), (b"/%c0%afx", "UTF-8"), (b"/%ff", "UTF-8"),
     (b"/%ed%a0%80", "UTF-8"), (b"/%252e%252e/x", "twice"), (b"/a%252fb", "twice"), (b"/%25%32%65", "twice"),
     (b"/%", "hexadecimal"), (b"/%4", "hexadecimal"), (b"/%u0041", "hexadecimal"), (b"/%zz", "hexadecimal"),
     (b"/%ef%bc%8e%ef%bc%8e/x", "dot"), (b"/a%ef%bc%8fb", "slash"), (b"/a%ef%bc%bcb", "backslash"),
     (b"/a b", "blank"), (b"/a#b", "#"), (b"", "begin"), (b"*", "begin"), (b"a", "begin"), (b"https://h/", "begin"),
     (b"/" + b"a" * MAX_TARGET, "longer")],
)  # fmt: skip
def test_case_47_a_path_that_could_be_read_in_two_ways_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BadTarget, match=why):
        canonical_target(raw)


def test_an_encoded_slash_has_two_readings() -> None:
    assert readings("/@scope%2Fname") == ("/@scope%2Fname", "/@scope/name")
    assert readings("/a/b") == ("/a/b",)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [("/a", ["/a"], ["/", "/a/", "/a/b", "/A", "/ab"]),
     ("/", ["/"], ["/a"]),
     ("/**", ["/", "/a", "/a/", "/a/b/c"], []),
     ("/a/**", ["/a/", "/a/b", "/a/b/c/"], ["/a", "/", "/ab/c", "/b/a/c"]),
     ("/a/*", ["/a/b"], ["/a", "/a/", "/a/b/", "/a/b/c"]),
     ("/a/*/c", ["/a/b/c"], ["/a/c", "/a//c", "/a/b/b/c"]),
     ("/a/**/c", ["/a/c", "/a/b/c", "/a/b/b/c"], ["/a", "/a/c/d", "/c"]),
     ("/a/**/c/**", ["/a/c/d", "/a/x/c/", "/a/c/c"], ["/a/c", "/a/x"]),
     ("/**/x/**/y", ["/x/y", "/1/x/2/y", "/x/x/y"], ["/y/x", "/x", "/y"]),
     ("/a*b*c", ["/abc", "/aXbYc", "/abbc", "/abcbc"], ["/ac", "/ab", "/abcd", "/a/bc"]),
     ("/a*a", ["/aa", "/aba"], ["/a"]),
     ("/x/*.whl", ["/x/a.whl", "/x/.whl"], ["/x/a.whl.exe", "/x/a/b.whl"]),
     ("/%7euser/%c3%a9", ["/~user/%C3%A9"], ["/%7Euser/%c3%a9"])],
)  # fmt: skip
def test_a_star_stays_in_its_segment_and_two_stars_cross(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = compile_pattern(pattern)
    assert [path for path in yes + no if matches(path)] == yes


@pytest.mark.parametrize("pattern", ["/**", "/**/**", "/**/*", "/*/**"])
def test_a_pattern_of_stars_alone_confines_nothing(pattern: str) -> None:
    assert compile_pattern(pattern).everything


@pytest.mark.parametrize("pattern", ["/", "/*", "/a/**", "/**/a", "/a"])
def test_a_pattern_with_a_name_or_a_depth_confines(pattern: str) -> None:
    assert not compile_pattern(pattern).everything


@pytest.mark.parametrize(
    "pattern",
    ["", "a", "*", "**", "/a**", "/**a", "/a/**b/c", "/***", "/a?x", "/a?", "/../a", "/a//b", "/a\\b", "/a b", "/é",
     "/%", "/a#b", "/a\n", "/" + "a" * MAX_PATTERN, "https://h/a"],
)  # fmt: skip
def test_what_is_not_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadTarget):
        compile_pattern(pattern)


def naive(pattern: list[str], path: list[str]) -> bool:
    """The definition, by recursion: fine for small inputs."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return len(path) >= 1
        return any(naive(pattern[1:], path[skip:]) for skip in range(len(path) + 1))
    return bool(path) and naive_segment(pattern[0], path[0]) and naive(pattern[1:], path[1:])


def naive_segment(glob: str, text: str) -> bool:
    return text != "" if glob == "*" else naive_star(glob, text)


def naive_star(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return naive_star(glob[1:], text) or (bool(text) and naive_star(glob, text[1:]))
    return text[:1] == glob[0] and naive_star(glob[1:], text[1:])


SEGMENT = st.text("ab*", max_size=5).filter(lambda text: "**" not in text)


@given(
    st.lists(SEGMENT.filter(bool) | st.just("**"), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
    st.booleans(),
)
def test_matching_agrees_with_its_definition(pattern: list[str], path: list[str], slash: bool) -> None:
    parts = [*path, ""] if slash else path
    assert compile_pattern("/" + "/".join(pattern))("/" + "/".join(parts)) == naive(pattern, parts)


def test_case_119_a_hostile_path_is_matched_without_backtracking() -> None:
    stars = compile_pattern("/" + "*a" * 250 + "b")
    deep = compile_pattern("/" + "**/a/" * 80 + "b")
    assert not stars("/" + "a" * (MAX_TARGET - 1))
    assert not deep("/" + "a/" * (MAX_TARGET // 2 - 1))


SEGMENTS = st.sampled_from(["a", "b", "*", "**", "a*", "*b", "a*b", "ab"])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "c", "acb"]), max_size=5).flatmap(
    lambda parts: st.sampled_from(["/" + "/".join(parts), "/" + "/".join([*parts, ""])])
)


@given(PATTERNS, PATTERNS, PATHS)
@settings(max_examples=400, deadline=None)
def test_a_covered_pattern_matches_nothing_more(old: str, new: str, path: str) -> None:
    if covers_path(old, new) and compile_pattern(new)(path):
        assert compile_pattern(old)(path)


@given(PATTERNS)
def test_every_pattern_covers_itself(pattern: str) -> None:
    assert covers_path(pattern, pattern)
