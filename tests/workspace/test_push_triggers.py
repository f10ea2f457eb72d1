"""Which changed files run by themselves once a push is out, and which links lead astray: by name alone, at any depth."""

from __future__ import annotations

import pytest

from claude_bottle.workspace.push.triggers import leads_out, of_path


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (".github/workflows/ci.yml", ("ci",)), (".GITHUB/Workflows/ci.yml", ("ci",)), ("sub/.github/workflows/x", ("ci",)),
        (".gitlab-ci.yml", ("ci",)), ("Jenkinsfile", ("ci",)), (".gitattributes", ("git",)), ("a/.gitmodules", ("git",)),
        (".husky/pre-commit", ("git",)), (".devcontainer/x/y", ("devcontainer",)), (".vscode/tasks.json", ("editor",)),
        (".envrc", ("shell",)), (".envrc. ", ("shell",)), (".envrc::$DATA", ("shell",)), (".mcp.json", ("agent",)),
        (".claude/settings.json", ("agent",)), ("README", ()), ("src/main.py", ()), ("github/workflows/ci.yml", ()),
        ("docs/gitlab-ci.yml.md", ()), ("notes/.github", ()),
    ],
)  # fmt: skip
def test_case_90_a_path_is_a_trigger_by_its_name(path: str, kinds: tuple[str, ...]) -> None:
    assert of_path(path) == kinds


@pytest.mark.parametrize(
    ("path", "link", "astray"),
    [
        ("a", "b", False), ("d/a", "../b", False), ("d/e/a", "../../b", False), ("a", "./d/../b", False), ("a", "/etc", True),
        ("a", "../b", True), ("d/a", "../../b", True), ("a", "d/../../b", True), ("a", ".git/config", True),
        ("a", "d/.GIT/hooks", True), ("a", "git~1", True), ("a", ".git.", True), ("a", "", False),
    ],
)  # fmt: skip
def test_a_link_leads_astray_out_of_the_tree_or_into_git(path: str, link: str, astray: bool) -> None:
    assert leads_out(path, link) is astray
