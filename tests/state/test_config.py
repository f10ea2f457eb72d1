from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.config import Settings, Upstream
from claude_bottle.state.paths import Paths


def configure(paths: Paths, content: object) -> None:
    paths.ensure_root()
    paths.config.write_text(content if isinstance(content, str) else json.dumps(content))
    paths.config.chmod(0o600)


def told(paths: Paths, content: object) -> list[str]:
    configure(paths, content)
    with pytest.raises(BottleError) as caught:
        Settings.load(paths)
    return caught.value.why.splitlines()


def problems(paths: Paths, content: object) -> list[str]:
    """Without their places."""
    return [re.sub(r"^config\.json:\d+:\d+: ", "", line) for line in told(paths, content)]


def test_without_a_file_the_defaults_hold(paths: Paths) -> None:
    assert Settings.load(paths) == Settings({}, None, None, None)
    assert not paths.root.exists()


def test_everything_that_can_be_set_is_read(paths: Paths) -> None:
    paths.ensure_root()
    (paths.root / "model.pem").touch()
    configure(paths, {
        "upstreams": {
            "Model.Bottle.Test:443": {"connect": "127.0.0.1:8443", "ca": "model.pem"},
            "gw.example.com:8080": {"connect": "[fd00::1]:443"},
            "pypi.org:443": {"connect": "mirror.corp.example:443"},
        },
        "ca": str(paths.root / "model.pem"), "retention_days": 30, "default_backend": "bubblewrap",
    })  # fmt: skip
    pem = str(paths.root / "model.pem")
    assert Settings.load(paths) == Settings(
        {
            ("model.bottle.test", 443): Upstream("127.0.0.1", 8443, pem),
            ("gw.example.com", 8080): Upstream("fd00::1", 443, None),
            ("pypi.org", 443): Upstream("mirror.corp.example", 443, None),
        },
        pem, 30, "bubblewrap",
    )  # fmt: skip


def test_all_problems_are_reported_at_once(paths: Paths) -> None:
    found = problems(paths, {
        "upstream": {}, "retention_days": "30", "default_backend": 7, "ca": "missing.pem", "upstream_proxy": "socks5://p:1",
        "upstreams": {
            "no-port.example.com": {"connect": "10.0.0.1:443"},
            "*.example.com:443": {"connect": "10.0.0.1:443"},
            "a.example.com:443": {"connect": "10.1:443", "verify": False},
            "b.example.com:443": "10.0.0.1:443",
            "c.example.com:443": {},
        },
    })  # fmt: skip
    for expected in (
        "upstream: unknown key", "retention_days: expected a whole number", "default_backend: expected",
        "ca: there is no file",
        'upstream_proxy: expected a text "http://host:port", or "http://user:password@host:port", found str',
        "upstreams.no-port.example.com: not a host:port",
        "upstreams.*.example.com:443: not",
        "upstreams.a.example.com:443.connect: not an addr:port", "upstreams.a.example.com:443.verify: unknown key",
        "upstreams.b.example.com:443: expected an object", "upstreams.c.example.com:443.connect: expected",
    ):  # fmt: skip
        assert any(problem.startswith(expected) for problem in found), expected
    assert len(found) == 11


def test_every_problem_says_where_it_stands(paths: Paths) -> None:
    said = """{
      "retention_days": -1,
      "upstreams": {
        "a.example.com:443": {
          "connect": 7},
        "b.example.com:443": {}
      },
      "oops": {}, "registries": {"pip": {"url": "x"}}
    }"""
    places = [(*line.split(":")[1:3], line.split(": ")[1]) for line in told(paths, said)]
    assert places == [
        ("2", "7", "retention_days"), ("5", "11", "upstreams.a.example.com:443.connect"),
        ("6", "9", "upstreams.b.example.com:443.connect"), ("8", "7", "oops"), ("8", "42", "registries.pip.url"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "connect",
    ["", "10.0.0.1", "10.0.0.1:", ":443", "10.0.0.1:0", "10.0.0.1:65536", "0x7f.1:443", "2130706433:443", "127.1:443",
     "fd00::1:443", "[fd00::1:443", "[fe80::1%eth0]:443", "host name:443", "a@b.example.com:443", "10.0.0.1:443/x", 7, None],
)  # fmt: skip
def test_an_address_has_one_spelling(paths: Paths, connect: object) -> None:
    assert problems(paths, {"upstreams": {"a.example.com:443": {"connect": connect}}})


def test_two_spellings_of_one_host_are_a_problem(paths: Paths) -> None:
    entry = {"connect": "10.0.0.1:443"}
    found = problems(paths, {"upstreams": {"a.example.com:443": entry, "A.example.com.:443": entry}})
    assert "stands there twice" in found[0]


@pytest.mark.parametrize("days", [0, -1, 1.5, True, None, 10**9])
def test_retention_is_a_number_of_days(paths: Paths, days: object) -> None:
    assert problems(paths, {"retention_days": days})


def test_broken_json_is_reported_with_its_place(paths: Paths) -> None:
    assert problems(paths, '{\n  "ca": oops\n}')[0].startswith("line 2, column 9")


@pytest.mark.parametrize(
    "content", ['{"ca": "a", "ca": "b"}', '{"upstreams": {"a.test:1": {"connect": "1.1.1.1:1", "connect": "2.2.2.2:1"}}}']
)
def test_a_key_that_stands_twice_is_a_problem(paths: Paths, content: str) -> None:
    assert "stands there twice" in problems(paths, content)[0]


@pytest.mark.parametrize("spoil", ["mode", "link"])
def test_settings_someone_else_could_have_written_are_refused(paths: Paths, spoil: str, tmp_path: Path) -> None:
    configure(paths, {"retention_days": 3})
    if spoil == "mode":
        paths.config.chmod(0o666)
    else:
        paths.config.rename(tmp_path / "other.json")
        paths.config.symlink_to(tmp_path / "other.json")
    with pytest.raises(BottleError) as caught:
        Settings.load(paths)
    assert caught.value.do


def test_a_hostile_key_is_shown_safely(paths: Paths) -> None:
    assert "\x1b" not in "".join(problems(paths, {"\x1b]0;x\x07": 1, "upstreams": {"\x1b[2J": {"connect": 1}}}))


def test_a_proxy_is_a_place_and_perhaps_a_password(paths: Paths) -> None:
    for said, expected in (
        ("http://proxy.corp.example:3128", ("proxy.corp.example", 3128, "")),
        ("http://10.0.0.5:8080/", ("10.0.0.5", 8080, "")),
        ("http://me:p%40ss@proxy.corp.example:3128", ("proxy.corp.example", 3128, "Basic bWU6cEBzcw==")),
    ):
        configure(paths, {"upstream_proxy": said})
        assert Settings.load(paths).upstream_proxy == expected


@pytest.mark.parametrize(
    "said", ["proxy:3128", "https://proxy.example:1", "http://proxy", "http://a b:1", "http://me:secret@p.example", 3128]
)
def test_what_is_no_proxy_is_refused_without_its_password(paths: Paths, said: object) -> None:
    (problem,) = problems(paths, {"upstream_proxy": said})
    assert problem.startswith("upstream_proxy: ") and "secret" not in problem


def test_the_documentation_has_every_setting(paths: Paths) -> None:
    (problem,) = problems(paths, {"unknown": 1})
    known = problem.rpartition("known are ")[2].split(", ")
    page = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} == set(known)
