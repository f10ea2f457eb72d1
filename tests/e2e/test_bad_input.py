"""Bad input: one clear error, the right exit code, no debris (issue 'Must hold', contract §1)."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.project import MANIFEST, Project, processes
from tests.waiting import eventually

MALFORMED = ["a/b", "..", "../x", "-x", "--", "a\nb", "a b", "", "a\x1b[31mb", "A", "é", "a" * 300]


def assert_one_error(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert all(text in done.stderr for text in says), done.stderr
    assert done.stderr.startswith("claude-bottle: ")
    assert done.stderr.count("claude-bottle: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""


def assert_clean_error(project: Project, code: int, *argv: str, says: str = "claude-bottle: ") -> None:
    before = project.files()
    assert_one_error(project.run(*argv), code, says)
    assert project.files() == before


@pytest.mark.parametrize("verb", ["start", "run"])
def test_an_unknown_agent_is_named_with_the_known_ones(project: Project, verb: str) -> None:
    before = project.files()
    done = project.run(verb, "nobody", *(["--yes"] if verb == "start" else []))
    assert_one_error(done, 1, "nobody", "claude", "closed", "shell")
    assert project.files() == before


def test_broken_json_is_shown_with_line_and_column(project: Project) -> None:
    project.write('{\n  "version": 1,\n  "bottles": {,}\n}')
    assert_clean_error(project, 1, "start", "claude", "--yes", says="claude-bottle.json:3:15")


def test_a_missing_credential_variable_is_named(project: Project) -> None:
    del project.env["SCRIPTED_MODEL_KEY"]
    assert_clean_error(project, 1, "start", "claude", "--yes", says="SCRIPTED_MODEL_KEY")
    assert_clean_error(project, 1, "run", "claude", says="SCRIPTED_MODEL_KEY")


def test_a_manifest_that_is_no_file_is_refused(project: Project) -> None:
    path = project.place / "claude-bottle.json"
    path.unlink()
    path.mkdir()
    assert_clean_error(project, 1, "start", "claude", "--yes", says="claude-bottle.json")


def test_json_needs_a_dry_run(project: Project) -> None:
    assert_clean_error(project, 2, "start", "claude", "--format", "json", says="--dry-run")
    assert_clean_error(project, 2, "resume", "claude-k3x9qa", "--format", "json", says="--dry-run")


@pytest.mark.parametrize("name", MALFORMED, ids=ascii)
def test_a_malformed_name_is_a_usage_error(project: Project, name: str) -> None:
    for argv in (["start", name, "--yes"], ["run", name], ["resume", name, "--yes"], ["stop", name], ["log", name],
                 ["transcript", name], ["cleanup", name, "--yes"]):  # fmt: skip
        assert_clean_error(project, 2, *argv)


def test_an_unknown_identity_is_an_error(project: Project) -> None:
    for verb in ("resume", "attach", "stop", "log", "egress", "transcript", "cleanup"):
        assert_clean_error(project, 1, verb, "claude-k3x9qa", says="claude-k3x9qa")
    assert_clean_error(project, 1, "exec", "claude-k3x9qa", "--", "true", says="claude-k3x9qa")


def test_an_untrusted_manifest_is_not_started(project: Project) -> None:
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "closed": {"egress": [{"host": "new.example.com"}]}}})
    assert_clean_error(project, 3, "start", "closed", "--yes", says="trust")


def test_without_a_terminal_and_without_yes_nothing_starts(project: Project) -> None:
    before = project.files()
    done = project.run("start", "claude")
    assert done.returncode == 3, done.stderr
    assert project.files() == before


def test_a_running_bottle_cannot_be_resumed_again(project: Project) -> None:
    done = project.run("start", "closed", "--yes", "--detach", "--", "sleep", "600")
    assert done.returncode == 0, done.stderr
    identity = project.only()["identity"]
    assert_clean_error(project, 1, "resume", identity, "--yes", says=f"{identity} is running")
    assert project.only()["status"] == "running"
    assert project.run("stop", identity).returncode == 0
    eventually(lambda: not processes(identity))
