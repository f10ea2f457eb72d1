"""Home and project: where they are found, what they merge to, and what needs consent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.manifest import Manifest, starter
from claude_bottle.state.trust import Trust
from tests.manifest.conftest import NAME, Place

EMPTY = {"version": 1}
TIGHT = {"version": 1, "bottles": {"b": {}}, "agents": {"a": {"bottle": "b"}}}


def manifest(**bottle: Any) -> dict[str, Any]:
    return {"version": 1, "bottles": {"web": bottle}, "agents": {"dev": {"bottle": "web"}}}


def trust(place: Place) -> None:
    consent = place.resolve().consent
    assert consent is not None
    Trust(place.paths).remember(consent.path, consent.sha256, consent.grants)


# --- finding ---------------------------------------------------------------------------------------------------


def test_without_any_manifest_the_error_says_what_to_do(place: Place) -> None:
    with pytest.raises(BottleError) as refused:
        place.resolve()
    assert refused.value.exit_code == 1
    assert "claude-bottle init" in refused.value.do


def test_the_project_is_looked_for_up_to_the_root_of_its_git_work_tree(place: Place) -> None:
    place.project(TIGHT)
    (place.project_dir / ".git").mkdir()
    below = place.project_dir / "a" / "b"
    below.mkdir(parents=True)
    assert "a" in place.resolve(below).agents


def test_nothing_above_the_git_work_tree_is_looked_at(place: Place) -> None:
    place.project(TIGHT)
    below = place.project_dir / "vendor"
    (below / ".git").mkdir(parents=True)
    with pytest.raises(BottleError, match="no manifest"):
        place.resolve(below)


def test_outside_git_only_the_directory_itself_is_looked_at(place: Place) -> None:
    place.project(TIGHT)
    below = place.project_dir / "deep"
    below.mkdir()
    with pytest.raises(BottleError, match="no manifest"):
        place.resolve(below)


def test_the_home_manifest_may_lie_in_the_home_itself(place: Place) -> None:
    (place.home_dir / NAME).write_text(json.dumps(TIGHT))
    found = place.resolve()
    assert [source.kind for source in found.sources] == ["home"]
    assert place.resolve(place.home_dir).consent is None, "standing in the home makes it no project"


def test_the_home_manifest_may_be_a_link(place: Place) -> None:
    real = place.home_dir / "dotfiles.json"
    real.write_text(json.dumps(TIGHT))
    (place.paths.root / NAME).symlink_to(real)
    assert "a" in place.resolve().agents


def test_a_home_manifest_strangers_may_write_to_is_refused(place: Place) -> None:
    place.home(TIGHT).chmod(0o666)
    with pytest.raises(BottleError, match="may be written by others"):
        place.resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_home_manifest_of_another_user_is_refused(place: Place) -> None:
    os.chown(place.home(TIGHT), 12345, 12345)
    with pytest.raises(BottleError, match="may be written by others"):
        place.resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_strangers_manifest_in_a_parent_directory_is_refused(place: Place) -> None:
    os.chown(place.project(TIGHT), 12345, 12345)
    with pytest.raises(BottleError, match="belongs to another user"):
        place.resolve()


def test_a_project_manifest_may_be_a_link_inside_its_project(place: Place) -> None:
    (place.project_dir / ".git").mkdir()
    (place.project_dir / "real.json").write_text(json.dumps(TIGHT))
    (place.project_dir / NAME).symlink_to("real.json")
    assert "a" in place.resolve().agents


@pytest.mark.parametrize("target", ["outside.json", "/dev/zero", "/proc/self/environ", "/dev/stdin"])
def test_a_project_manifest_is_no_link_out_of_its_project(place: Place, target: str) -> None:
    (place.project_dir.parent / "outside.json").write_text(json.dumps(TIGHT))
    (place.project_dir / NAME).symlink_to(Path("..") / target)
    with pytest.raises(BottleError, match="leads out of its project"):
        place.resolve()


def test_a_dangling_link_is_no_missing_manifest(place: Place) -> None:
    place.home(TIGHT)
    (place.project_dir / NAME).symlink_to("nowhere")
    with pytest.raises(BottleError, match="cannot read"):
        place.resolve()


def test_special_files_are_refused_without_waiting(place: Place) -> None:
    os.mkfifo(place.project_dir / NAME)
    with pytest.raises(BottleError, match="not a regular file"):
        place.resolve()


def test_a_directory_in_its_place_is_refused(place: Place) -> None:
    (place.project_dir / NAME).mkdir()
    with pytest.raises(BottleError, match="not a regular file"):
        place.resolve()


def test_a_manifest_over_a_mebibyte_is_refused(place: Place) -> None:
    place.project(json.dumps(TIGHT) + " " * (1 << 20))
    with pytest.raises(BottleError, match="too large"):
        place.resolve()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_manifest_is_one_clear_error(place: Place) -> None:
    place.project(TIGHT).chmod(0)
    with pytest.raises(BottleError, match="cannot read"):
        place.resolve()


# --- asking for an agent ---------------------------------------------------------------------------------------


def test_an_unknown_agent_lists_the_known(place: Place) -> None:
    place.home({"version": 1, "bottles": {"b": {}}, "agents": {"zoe": {"bottle": "b"}, "ann": {"bottle": "b"}}})
    with pytest.raises(BottleError) as refused:
        place.resolve().agent("bob")
    assert "ann, zoe" in refused.value.why
    assert refused.value.exit_code == 1


@pytest.mark.parametrize("name", ["a/b", "..", "-x", "a\nb", "\x1b[2J"])
def test_what_is_no_name_is_a_usage_error(place: Place, name: str) -> None:
    place.home(TIGHT)
    with pytest.raises(UsageError):
        place.resolve().agent(name)


# --- merging ---------------------------------------------------------------------------------------------------


def test_case_126_a_project_uses_a_home_bottle_without_consent(place: Place) -> None:
    place.home(manifest(egress=[{"host": "a.example.com"}]))
    place.project({"version": 1, "agents": {"mine": {"bottle": "web", "model": "opus"}}})
    found = place.resolve()
    assert found.consent is None
    assert found.agent("mine").bottle == "web"
    assert [rule.host for rule in found.bottles["web"].rules] == ["a.example.com"]


def test_case_126_a_project_narrows_a_home_bottle_without_consent(place: Place) -> None:
    place.home(manifest(egress=[{"host": "a.example.com"}, {"host": "b.example.com"}], workspace={"mode": "bind"}))
    place.project({"version": 1, "bottles": {"web": {"egress": [{"host": "a.example.com", "methods": ["GET"]}]}}})
    found = place.resolve()
    assert found.consent is None
    (rule,) = found.bottles["web"].rules
    assert (rule.host, rule.methods) == ("a.example.com", ("GET",))
    assert found.bottles["web"].workspace == "none", "a project's bottle is whole: what it leaves out it does not grant"
    assert found.bottles["web"].origin == "both"
    assert found.warnings == ()


def test_case_126_what_a_project_adds_to_a_home_bottle_is_left_out_and_told(place: Place) -> None:
    place.home(manifest(egress=[{"host": "a.example.com", "methods": ["GET"]}]))
    wider = manifest(
        egress=[{"host": "a.example.com"}, {"host": "evil.example.com"}],
        mounts=[{"source": "/srv", "target": "/srv/x"}],
        workspace={"mode": "bind"},
    )
    place.project(wider)
    found = place.resolve()
    bottle = found.bottles["web"]
    assert [(rule.host, rule.methods) for rule in bottle.rules] == [("a.example.com", ("GET",))]
    assert (bottle.mounts, bottle.workspace) == ((), "none")
    told = "\n".join(found.warnings)
    assert "evil.example.com" in told
    assert "/srv/x" in told
    assert found.consent is None


@pytest.mark.parametrize(("mine", "theirs"), [("ro", "rw"), ("rw", "ro"), ("rw", "rw")])
def test_a_shared_mount_is_writable_only_if_both_say_so(place: Place, mine: str, theirs: str) -> None:
    for write, mode in ((place.home, mine), (place.project, theirs)):
        write(manifest(mounts=[{"source": "/srv/a", "target": "/srv/a", "mode": mode}]))
    (mount,) = place.resolve().bottles["web"].mounts
    assert mount.mode == min(mine, theirs)


def test_a_projects_credential_never_replaces_the_homes(place: Place) -> None:
    def using(variable: str) -> dict[str, Any]:
        return manifest(
            egress=[{"host": "a.example.com", "paths": ["/x"], "credential": "k"}],
            credentials={"k": {"from": {"env": variable}, "env": "K", "header": "x-api-key"}},
        )

    place.home(using("MINE"))
    place.project({**using("THEIRS"), "agents": {}})
    found = place.resolve()
    (spec,) = found.bottles["web"].credentials["k"]
    assert spec.source_detail == "MINE"
    assert found.consent is None
    assert "THEIRS" in "".join(found.warnings)


def test_a_project_cannot_unbind_a_host_from_its_credential(place: Place) -> None:
    place.home(
        manifest(
            egress=[
                {"host": "a.example.com", "paths": ["/x"], "credential": "k"},
                {"host": "a.example.com", "paths": ["/public"]},
            ],
            credentials={"k": {"from": {"env": "A"}, "env": "K", "header": "x-api-key"}},
        )
    )
    place.project(manifest(egress=[{"host": "a.example.com", "paths": ["/public"]}]))
    assert place.resolve().bottles["web"].rules == ()


def test_a_project_cannot_fill_a_home_credentials_variable(place: Place) -> None:
    place.home(manifest(egress=[{"preset": "anthropic"}]))
    place.project(manifest(egress=[{"host": "api.anthropic.com"}], env={"ANTHROPIC_API_KEY": "sk-x", "A": "1"}))
    assert dict(place.resolve().bottles["web"].env) == {"A": "1"}


def test_a_projects_narrowing_may_name_the_homes_credential(place: Place) -> None:
    place.home(manifest(egress=[{"preset": "anthropic"}]))
    place.project(
        manifest(
            egress=[{"host": "api.anthropic.com", "methods": ["POST"], "paths": ["/v1/messages"], "credential": "anthropic"}]
        )
    )
    (rule,) = place.resolve().bottles["web"].rules
    assert rule.credential == "anthropic"
    assert rule.paths == ("/v1/messages",)


# --- consent ---------------------------------------------------------------------------------------------------

GRANTING: dict[str, dict[str, Any]] = {
    "egress": {"egress": [{"host": "evil.example.com"}]},
    "mount": {"mounts": [{"source": "/srv", "target": "/srv/x"}]},
    "workspace": {"workspace": {"mode": "bind"}},
    "command": {
        "egress": [{"host": "evil.example.com", "paths": ["/a"], "credential": "k"}],
        "credentials": {"k": {"from": {"command": ["sh", "-c", "curl evil"]}, "env": "K", "header": "x-k"}},
    },
}


@pytest.mark.parametrize("kind", GRANTING)
def test_case_126_what_a_project_grants_waits_for_consent(place: Place, kind: str) -> None:
    place.project(manifest(**GRANTING[kind]))
    consent = place.resolve().consent
    assert consent is not None
    assert consent.previous is None
    assert consent.refusal().exit_code == 3
    trust(place)
    assert place.resolve().consent is None


def test_a_command_of_a_project_is_shown_as_what_it_is(place: Place) -> None:
    place.project(manifest(**GRANTING["command"]))
    consent = place.resolve().consent
    assert consent is not None
    assert any("run on this host: sh -c 'curl evil'" in line for line in consent.grants)


def test_a_project_that_grants_nothing_needs_no_consent(place: Place) -> None:
    place.project(manifest(env={"A": "b"}, proxy_env=True))
    assert place.resolve().consent is None


def test_the_home_manifest_needs_no_consent(place: Place) -> None:
    place.home(manifest(**GRANTING["command"]))
    assert place.resolve().consent is None


def test_case_127_a_changed_manifest_asks_again_and_tells_the_difference(place: Place) -> None:
    place.project(manifest(egress=[{"host": "a.example.com"}]))
    trust(place)
    place.project(manifest(egress=[{"host": "b.example.com"}]))
    consent = place.resolve().consent
    assert consent is not None
    assert consent.added == ("web: reach b.example.com: any method on any path",)
    assert consent.removed == ("web: reach a.example.com: any method on any path",)
    assert "+ web: reach b.example.com" in consent.refusal().why


def test_case_127_even_a_blank_more_asks_again(place: Place) -> None:
    path = place.project(manifest(egress=[{"host": "a.example.com"}]))
    trust(place)
    path.write_text(path.read_text() + " ")
    assert place.resolve().consent is not None


def test_case_127_going_back_to_an_older_content_asks_again(place: Place) -> None:
    path = place.project(manifest(egress=[{"host": "a.example.com"}]))
    first = path.read_text()
    trust(place)
    place.project(manifest(egress=[{"host": "b.example.com"}]))
    trust(place)
    path.write_text(first)
    assert place.resolve().consent is not None


def test_consent_is_for_one_place_only(place: Place) -> None:
    place.project(manifest(egress=[{"host": "a.example.com"}]))
    trust(place)
    other = place.base / "copy"
    other.mkdir()
    (other / NAME).write_bytes((place.project_dir / NAME).read_bytes())
    assert place.resolve(other).consent is not None


def test_grants_that_grow_without_the_file_changing_are_asked_for(place: Place) -> None:
    place.home(manifest(egress=[{"host": "a.example.com"}]))
    place.project(
        {
            "version": 1,
            "bottles": {"web": {"egress": [{"host": "a.example.com"}]}, "own": {"egress": [{"host": "b.example.com"}]}},
        }
    )
    trust(place)
    (place.paths.root / NAME).unlink()
    consent = place.resolve().consent
    assert consent is not None, "the home bottle is gone, so the project's is a grant of its own now"
    assert consent.added == ("web: reach a.example.com: any method on any path",)


def test_moving_the_operators_agent_to_another_bottle_needs_consent(place: Place) -> None:
    bottles = {"tight": {}, "wide": {"egress": [{"host": "a.example.com"}]}}
    place.home({"version": 1, "bottles": bottles, "agents": {"claude": {"bottle": "tight"}}})
    place.project({"version": 1, "agents": {"claude": {"bottle": "wide"}}})
    consent = place.resolve().consent
    assert consent is not None
    assert consent.grants == ("agent claude: run in the bottle wide instead of tight",)


def test_foreign_text_in_a_consent_is_sanitised(place: Place) -> None:
    rule = {"host": "a.example.com", "paths": ["/a"], "credential": "k"}
    command = ["echo", "\x1b]52;c;evil\x07\r\n\u202e"]
    credentials = {"k": {"from": {"command": command}, "env": "K", "header": "x-k"}}
    place.project(manifest(egress=[rule], credentials=credentials))
    consent = place.resolve().consent
    assert consent is not None
    assert all(line.isprintable() and "\u202e" not in line for line in consent.grants)


# --- stability -------------------------------------------------------------------------------------------------


def stable(place: Place, content: Any) -> None:
    place.project(content)
    once = place.resolve().to_dict()
    place.project(once)
    assert place.resolve().to_dict() == once


def test_the_starter_printed_and_loaded_again_says_the_same(place: Place) -> None:
    stable(place, starter())


BOTTLES = st.fixed_dictionaries(
    {},
    optional={
        "backend": st.sampled_from(["auto", "bubblewrap"]),
        "workspace": st.sampled_from([{"mode": "none"}, {"mode": "bind"}]),
        "egress": st.lists(
            st.sampled_from(
                [
                    {"preset": "anthropic"},
                    {"preset": "pypi"},
                    {"preset": "github-read"},
                    {"host": "A.Example.com.", "note": "x"},
                    {"host": "b.example.com", "port": 8443, "tls": "tunnel"},
                    {"host": "c.example.com", "methods": ["GET"], "paths": ["/a/*", "/b/**"], "credential": "k"},
                ]
            ),
            max_size=4,
        ),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=5).filter(lambda text: "\0" not in text)),
        "mounts": st.sampled_from([[], [{"source": "/srv/a", "target": "/srv/a"}]]),
        "proxy_env": st.booleans(),
    },
)
SOURCES = st.sampled_from(
    [
        {"env": "TOKEN"},
        {"file": "~/t.json", "pointer": "/a/b"},
        {"file": "/a,b:c"},
        {"command": ["gh", "auth"], "ttl": "15m"},
    ]
)


@given(BOTTLES, SOURCES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_parse_print_parse_is_stable(place: Place, bottle: dict[str, Any], source: dict[str, Any]) -> None:
    credentials = {"k": {"from": source, "env": "K", "header": "x-k"}}
    stable(place, manifest(**{**bottle, "credentials": credentials}))


def test_load_file_judges_one_file_alone(place: Place) -> None:
    place.home(manifest(egress=[{"host": "a.example.com"}]))
    path = place.project(manifest(egress=[{"host": "a.example.com"}]))
    found = Manifest.load_file(path, paths=place.paths)
    assert [source.kind for source in found.sources] == ["project"]
    assert found.consent is not None
