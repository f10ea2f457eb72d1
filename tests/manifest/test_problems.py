"""Everything wrong with a manifest is told at once, with its place and what to write instead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest.explain import explain
from claude_bottle.manifest.problems import Report
from tests.manifest.conftest import Place

Judge = Callable[..., list[str]]
GOOD = {"host": "api.example.com"}
X = {"x": {"from": {"env": "X"}, "env": "X", "header": "x-api-key"}}


def test_all_problems_come_at_once_with_line_and_column(place: Place) -> None:
    text = """{
  "version": 1,
  "bottles": {
    "web": {
      "egress": [{"host": "*"}, {"host": "pypi.org", "metods": ["GET"]}],
      "mounts": [{"source": "/"}]
    }
  },
  "agents": {"one": {"bottle": "wbe"}, "two": {}}
}"""
    assert place.problems(text) == [
        "5:27: bottles.web.egress[0].host: a wildcard is only *. in front of a name, in a rule of a manifest",
        '5:54: bottles.web.egress[1].metods: unknown key "metods" → did you mean "methods"?',
        '6:18: bottles.web.mounts[0]: misses target → add "target": …',
        '9:32: agents.one.bottle: there is no bottle "wbe" → did you mean "web"?',
        '9:47: agents.two: misses bottle → add "bottle": …',
    ]


def test_problems_of_both_files_come_at_once(place: Place) -> None:
    place.home({"version": 1, "bottles": {"a": {"egress": [{"host": "com"}]}}})
    place.project({"version": 1, "agents": {"x": {"bottle": "nope"}}})
    with pytest.raises(BottleError) as refused:
        place.resolve()
    assert "com cannot be granted" in refused.value.why
    assert 'there is no bottle "nope"' in refused.value.why
    assert refused.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Python's own reader points at what follows the comma, and since 3.13 at the comma.
        ('{"version": 1,}', "1:14: not JSON" if sys.version_info >= (3, 13) else "1:15: not JSON"),
        ('{\n  "version": 1\n  "bottles": {}\n}', "3:3: not JSON"),
        ("{\n// hello\n}", "2:1: not JSON"),
        ("{'version': 1}", "1:2: not JSON"),
        ("", "1:1: not JSON"),
        ('{"version": 1', "1:14: not JSON"),
        ("[]", "1:1: expected an object"),
        ("null", "1:1: expected an object"),
        ('{"version": 1} x', "1:16: not JSON"),
    ],
)
def test_broken_json_is_told_with_line_and_column(place: Place, text: str, expected: str) -> None:
    (problem,) = place.problems(text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{\n// hello\n}", "JSON has no comments"),
        ("{'version': 1}", "double quotes"),
        ('{"version": 1', "too early"),
    ],
)
def test_the_usual_mistakes_have_a_hint(place: Place, text: str, hint: str) -> None:
    (problem,) = place.problems(text)
    assert hint in problem


def test_a_doubled_key_is_refused_wherever_it_stands(place: Place) -> None:
    text = '{"version": 1, "bottles": {"a": {"egress": []},\n "a": {"egress": [{"host": "x.com"}]}}}'
    assert place.problems(text) == ["2:2: bottles.a: this key was given on line 1 already → keep one of the two"]


def test_a_key_doubled_by_an_escape_is_refused(place: Place) -> None:
    (problem,) = place.problems('{"version": 1, "vers\\u0069on": 1}')
    assert "already" in problem


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'\xef\xbb\xbf{"version": 1}', "byte order mark"),
        ('{"version": 1}'.encode("utf-16"), "byte order mark"),
        (b'{"version": 1, "$schema": "\xff"}', "1:28: the file is not UTF-8"),
        (b'{"version": 1, "$schema": "\\ud800"}', "surrogate"),
        (b'{"version": NaN}', "1:13: NaN and Infinity are not JSON"),
        (b'{"version": -Infinity}', "1:13: NaN and Infinity are not JSON"),
        (b'{"version": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "nested more than"),
        (b'{"a":' * 50_000, "nested more than"),
        (b"\0" * 50, "1:1: not JSON"),
    ],
    ids=["bom", "utf16", "latin1", "surrogate", "nan", "infinity", "huge-number", "deep-list", "deep-object", "zeros"],
)
def test_what_is_no_plain_utf8_json_is_refused(place: Place, raw: bytes, expected: str) -> None:
    assert expected in "\n".join(place.problems(raw))


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5, [1]])
def test_only_version_one_is_known(place: Place, version: Any) -> None:
    (problem,) = place.problems({"version": version})
    assert "version" in problem


def test_a_newer_version_says_to_upgrade(place: Place) -> None:
    assert "upgrade" in place.problems({"version": 7})[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"egress": None},
        {"egress": {}},
        {"egress": [""]},
        {"egress": ["*"]},
        {"egress": ["*.com"]},
        {"egress": [None]},
        {"egress": [{}]},
        {"egress": [{"host": ""}]},
        {"egress": [{"host": None}]},
        {"egress": [{"host": "*"}]},
        {"egress": [{"host": "*.com"}]},
        {"egress": [{"host": "*.co.uk"}]},
        {"egress": [{"host": "com"}]},
        {"egress": [{"host": "10.0.0.0/8"}]},
        {"egress": [{"host": "10.0.0.1"}]},
        {"egress": [{"host": "0x7f.1"}]},
        {"egress": [{"host": "[::1]"}]},
        {"egress": [{"host": "localhost"}]},
        {"egress": [{"host": "metadata.google.internal"}]},
        {"egress": [{"host": "https://example.com"}]},
        {"egress": [{"host": "example.com:443"}]},
        {"egress": [{"host": "user@example.com"}]},
        {"egress": [{**GOOD, "methods": []}]},
        {"egress": [{**GOOD, "methods": ["*"]}]},
        {"egress": [{**GOOD, "paths": []}]},
        {"egress": [{"host": "*.example.com", "credential": "x"}], "credentials": X},
        {"egress": [{**GOOD, "max_body": "much"}]},
        {"egress": [{**GOOD, "tls": "tunnel", "websocket": True}]},
        {"egress": [{**GOOD, "tls": "tunnel", "max_body": "1m"}]},
        {"egress": [{**GOOD, "paths": [""]}]},
        {"egress": [{**GOOD, "paths": ["/a/../b"]}]},
        {"egress": [{**GOOD, "port": 0}]},
        {"egress": [{**GOOD, "port": "443"}]},
        {"egress": [{**GOOD, "port": True}]},
        {"egress": [{**GOOD, "port": 53}]},
        {"egress": [{**GOOD, "tls": "skip"}]},
        {"egress": [{**GOOD, "tls": "tunnel", "paths": ["/a"]}]},
        {"egress": [{**GOOD, "tls": "tunnel"}, GOOD]},
        {"egress": [{**GOOD, "note": "a\nb"}]},
        {"egress": [{"preset": "pypi", "host": "pypi.org"}]},
        {"egress": [{"preset": "../../etc/passwd"}]},
    ],
    ids=lambda keys: json.dumps(keys)[:60],
)
def test_case_36_an_empty_or_too_wide_allowlist_never_loads(bottle_problems: Judge, keys: dict[str, Any]) -> None:
    (problem,) = bottle_problems(**keys)
    assert "egress" in problem


@pytest.mark.parametrize("keys", [{}, {"egress": []}])
def test_case_36_a_missing_or_empty_allowlist_is_no_network(place: Place, keys: dict[str, Any]) -> None:
    place.project({"version": 1, "bottles": {"web": keys}})
    assert place.resolve().bottles["web"].rules == ()


@pytest.mark.parametrize(
    ("content", "write"),
    [
        ({"bottles": {"w": {"egres": []}}}, 'did you mean "egress"?'),
        ({"bottles": {"w": {"egress": [{"host": "a.example.com", "method": ["GET"]}]}}}, "methods"),
        ({"bottles": {"w": {"egress": [{"host": "a.example.com", "path": ["/a"]}]}}}, "paths"),
        ({"agent": {}}, 'did you mean "agents"?'),
        ({"bottles": {"w": {"mounts": [{"source": "/a", "target": "/srv/a", "readonly": True}]}}}, "known here"),
    ],
)
def test_case_132_a_misspelt_key_is_an_error(place: Place, content: dict[str, Any], write: str) -> None:
    (problem,) = place.problems({"version": 1, **content})
    assert "unknown key" in problem
    assert write in problem


@pytest.mark.parametrize("key", ["trusted", "trust", "consent", "verify", "insecure"])
def test_case_128_a_manifest_cannot_declare_itself_trusted(place: Place, key: str) -> None:
    (problem,) = place.problems({"version": 1, key: True})
    assert "cannot declare itself trusted" in problem


@pytest.mark.parametrize("keys", [{"backend": "kubernetes"}, {"workspace": {"mode": "worktree"}}])
def test_what_is_not_built_yet_is_refused_and_not_ignored(bottle_problems: Judge, keys: dict[str, Any]) -> None:
    assert any("not supported yet" in problem for problem in bottle_problems(**keys))


@pytest.mark.parametrize("name", ["-x", "--help", "a/b", "..", "a\nb", "", "A", "a b", "a.b", "x" * 80])
def test_names_of_agents_and_bottles_are_plain(place: Place, name: str) -> None:
    content = {"version": 1, "bottles": {name: {}, "ok": {}}, "agents": {name: {"bottle": "ok"}}}
    problems = place.problems(content)
    assert len(problems) == 2
    assert "\n" not in "".join(problems)
    assert "not a name for a bottle" in problems[0]
    assert "not a name for an agent" in problems[1]


@pytest.mark.parametrize(
    "agent",
    [
        {"model": "--dangerous"},
        {"model": "a\x1b[2J"},
        {"prompt": "/etc/passwd"},
        {"prompt": "../secret"},
        {"prompt": "~/.ssh/id_rsa"},
        {"prompt": "a//b"},
        {"skills": ["../x"]},
        {"skills": [""]},
        {"skills": ["skills/A b"]},
        {"skills": ["a/review", "b/review"]},
        {"args": ["a\0b"]},
        {"args": "x"},
        {"harness": "-x"},
    ],
)
def test_what_an_agent_cannot_say_is_refused(place: Place, agent: dict[str, Any]) -> None:
    content = {"version": 1, "bottles": {"b": {}}, "agents": {"a": {"bottle": "b", **agent}}}
    (problem,) = place.problems(content)
    assert next(iter(agent)) in problem


def test_no_control_character_of_a_manifest_reaches_the_terminal(place: Place) -> None:
    text = "\n".join(place.problems({"version": 1, "\x1b]0;x\x07\u202e": 1, "bottles": {"a\x1b[2J": {}}}))
    assert text.replace("\n", "").isprintable()
    assert "\u202e" not in text


@pytest.mark.parametrize("name", ["A B", "1X", "CLAUDE_BOTTLE_HOME", "HOME", "CLAUDE_CONFIG_DIR", "A=B", ""])
def test_variables_a_bottle_may_not_set_are_refused(bottle_problems: Judge, name: str) -> None:
    (problem,) = bottle_problems(env={name: "x"})
    assert "bottles.web.env" in problem


def test_variables_that_act_on_the_inside_alone_may_be_set(place: Place) -> None:
    place.project({"version": 1, "bottles": {"b": {"env": {"LD_PRELOAD": "x", "PATH": "/x"}}}})
    assert dict(place.resolve().bottles["b"].env) == {"LD_PRELOAD": "x", "PATH": "/x"}


def credential(**keys: Any) -> dict[str, Any]:
    return {"from": {"env": "TOKEN"}, "env": "TOKEN", "header": "Authorization", "format": "Bearer {secret}", **keys}


@pytest.mark.parametrize(
    "keys",
    [
        {"from": {}},
        {"from": {"env": "A", "file": "/a"}},
        {"from": {"env": "A B"}},
        {"from": {"file": "relative"}},
        {"from": {"file": "/a/../b"}},
        {"from": {"file": "/a#b"}},
        {"from": {"file": "/a", "pointer": "x"}},
        {"from": {"env": "A", "pointer": "/x"}},
        {"from": {"command": []}},
        {"from": {"command": ["--help"]}},
        {"from": {"command": "gh auth token"}},
        {"from": {"command": ["a"], "ttl": 5}},
        {"from": {"command": ["a"], "ttl": "5"}},
        {"from": {"env": "A", "ttl": "5m"}},
        {"env": "1A"},
        {"env": "CLAUDE_BOTTLE_X"},
        {"header": "Host"},
        {"header": "a\r\nb"},
        {"format": "Bearer"},
        {"format": "{secret}{secret}"},
        {"one_of": []},
        {"one_of": [{"from": {"env": "A"}, "env": "A", "header": "x-a"}]},
    ],
    ids=lambda keys: json.dumps(keys)[:50],
)
def test_an_unsound_credential_is_refused(bottle_problems: Judge, keys: dict[str, Any]) -> None:
    rule = {**GOOD, "paths": ["/a"], "credential": "github"}
    problems = bottle_problems(egress=[rule], credentials={"github": credential(**keys)})
    assert len(problems) == 1
    assert "bottles.web.credentials.github" in problems[0]


def test_a_credential_that_is_not_defined_is_a_problem(bottle_problems: Judge) -> None:
    rule = {**GOOD, "credential": "githob", "paths": ["/a"]}
    problems = bottle_problems(egress=[rule], credentials={"github": credential()})
    assert problems == [
        '1:89: bottles.web.egress[0].credential: this bottle has no credential "githob" → did you mean "github"?'
    ]


def test_a_credential_nobody_uses_is_a_warning(place: Place) -> None:
    place.project({"version": 1, "bottles": {"web": {"credentials": {"github": credential()}}}})
    (warning,) = place.resolve().warnings
    assert "bottles.web.credentials.github: no rule uses this credential" in warning


@pytest.mark.parametrize(
    "rule",
    [
        {**GOOD, "paths": ["/**"], "credential": "github"},
        {**GOOD, "tls": "tunnel", "credential": "github"},
        {**GOOD, "port": 80, "paths": ["/a"], "credential": "github"},
    ],
)
def test_a_rule_that_would_give_a_credential_away_is_refused(bottle_problems: Judge, rule: dict[str, Any]) -> None:
    (problem,) = bottle_problems(egress=[rule], credentials={"github": credential()})
    assert "credential" in problem


def test_two_credentials_cannot_fill_one_variable(bottle_problems: Judge) -> None:
    (problem,) = bottle_problems(egress=[{"preset": "anthropic"}, {"preset": "scripted-model"}])
    assert "both fill the variable ANTHROPIC_API_KEY" in problem


def test_a_variable_cannot_shadow_a_placeholder(bottle_problems: Judge) -> None:
    (problem,) = bottle_problems(egress=[{"preset": "anthropic"}], env={"ANTHROPIC_API_KEY": "sk-x"})
    assert "fills this variable" in problem


@pytest.mark.parametrize(
    "content",
    [
        {"version": 1, "bottles": {"web": {"egress": [1] * 3_000}}},
        {"version": 1, "bottles": {"web": {"egress": [{}] * 3_000}}},
        {"version": 1, "bottles": {"web": {"egress": [GOOD | {"methods": ["get"] * 3_000}]}}},
        {"version": 1, "bottles": {"web": {"mounts": [{"source": "x", "target": "y"}] * 3_000}}},
        {"version": 1} | {f"key{number}": 1 for number in range(3_000)},
        {
            "version": 1,
            "bottles": {f"bottle-{number}": {} for number in range(2_000)},
            "agents": {f"agent-{number}": {"bottle": f"bottle-x{number}"} for number in range(2_000)},
        },
        "{" + ",\n".join(['"a": 1'] * 3_000) + "}",
        "[" + ",\n".join(["NaN"] * 3_000) + "]",
    ],
    ids=["not rules", "empty rules", "methods", "mounts", "unknown keys", "missing bottles", "doubled keys", "constants"],
)
def test_a_file_full_of_problems_is_given_up_early(place: Place, content: Any) -> None:  # fuzz target: manifest loader
    found = place.problems(content)
    assert len(found) == 101
    assert found[-1].endswith("and perhaps more: these are the first to be found")


def test_a_refused_document_never_passes_even_when_nothing_is_found(tmp_path: Path) -> None:
    report = Report(tmp_path / "x.json", '{"version": 1}')
    explain(report.text, "some reason", report)
    (problem,) = report.problems()
    assert problem.message == "not a manifest: some reason"


def test_a_good_manifest_loads_without_jsonschema_or_the_scanner(place: Place) -> None:
    place.project({"version": 1, "bottles": {"w": {"egress": [{"preset": "anthropic"}]}}, "agents": {}})
    program = (
        "import sys; from claude_bottle.manifest import Manifest; assert 'msgspec' not in sys.modules;"
        f"Manifest.resolve({str(place.project_dir)!r});"
        "print([m for m in ('jsonschema', 'claude_bottle.state.positions', 'asyncio', 'subprocess',"
        " 'claude_bottle.manifest.explain', 'ssl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.strip() == "[]"


def test_every_problem_of_a_git_section_has_its_place(place: Place) -> None:
    git = {"repositories": ["acme/shop", "*"], "push": ["refs/heads/*"], "max_pack": "much", "fetsch": True}
    said = "\n".join(place.problems(git_manifest(git)))
    assert 'git.fetsch: unknown key "fetsch" → did you mean "fetch"?' in said
    git.pop("fetsch")
    said = "\n".join(place.problems(git_manifest(git)))
    for words in ("git.repositories[1]: a repository is", "git.push[0]: not a ref to push to", "git.max_pack: not a size"):
        assert words in said
    for wrong, words in (({"methods": ["GET"]}, "git alone"), ({"tls": "tunnel"}, "no tunnel"), ({"port": 80}, "port 80")):
        assert words in "\n".join(place.problems(git_manifest({"repositories": ["acme/shop"]}, **wrong)))


def git_manifest(git: dict[str, Any], **keys: Any) -> str:
    return json.dumps({"version": 1, "bottles": {"b": {"egress": [{"host": "git.example.com", "git": git, **keys}]}}})
