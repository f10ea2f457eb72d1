"""What would run later on the operator's machine is found, and nothing of it goes over without a word."""

from __future__ import annotations

import pytest

from claude_bottle.workspace.triggers import LINKS, NAMES, SETUID, Trigger, judge, of_pushed
from claude_bottle.workspace.work import FILE, LINK, Change, Entry
from tests.workspace.conftest import Yard, plant, snapshot

PLAIN = Entry(FILE, 0o644, 1)
CASES = {
    "git": (".gitattributes", ".gitmodules", ".husky/pre-commit", "sub/.githooks/post-merge", ".pre-commit-config.yaml"),
    "ci": (".github/workflows/ci.yml", ".gitlab-ci.yml", ".circleci/config.yml", "Jenkinsfile", "azure-pipelines.yml"),
    "packages": ("package.json", "app/package.json", ".npmrc", "setup.py", "pyproject.toml", "build.rs", "Cargo.toml"),
    "editor": (".vscode/tasks.json", "x.code-workspace", ".idea/workspace.xml", ".exrc", ".dir-locals.el"),
    "devcontainer": (".devcontainer/devcontainer.json", ".devcontainer.json", "Dockerfile", "compose.yaml"),
    "shell": (".envrc", "a/b/.envrc", ".env", ".mise.toml", ".bashrc", "flake.nix"),
    "make": ("Makefile", "GNUmakefile", "sub/rules.mk", "justfile", "CMakeLists.txt", "configure"),
    "python": ("conftest.py", "tests/conftest.py", "evil.pth", "sitecustomize.py", "usercustomize.py", "tox.ini"),
    "agent": (".claude/settings.json", ".mcp.json", "CLAUDE.md", "AGENTS.md", ".cursor/mcp.json", "claude-bottle.json"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in CASES.items() for path in paths])
def test_a_file_that_runs_later_is_found_in_any_spelling_whether_made_changed_or_removed(name: str, path: str) -> None:
    for spelled in (path, path.upper(), f"deep/er/{path}", f"{path}."):
        for change in (Change(spelled, None, PLAIN), Change(spelled, PLAIN, PLAIN), Change(spelled, PLAIN, None)):
            assert name in {trigger.name for trigger in judge(change, None, None)}, change


@pytest.mark.parametrize("path", [".vscode", "sub/.claude", ".github/workflows", ".husky", ".devcontainer"])
def test_a_link_in_the_place_of_such_a_directory_is_found(path: str) -> None:
    assert judge(Change(path, None, Entry(LINK, 0o777, 0, "harmless")), None, None)


@pytest.mark.parametrize("path", ["src/cart.py", "README.md", "docs/make.md", "vendor/x.go", "build/out.o", "notconftest.py",
                                  "github/workflows/x", "data.json", "templates/package.html"])  # fmt: skip
def test_ordinary_files_need_no_word(path: str) -> None:
    assert judge(Change(path, None, PLAIN), None, None) == ()


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (".github/workflows/ci.yml", ("ci",)), (".GITHUB/Workflows/ci.yml", ("ci",)), ("sub/.github/workflows/x", ("ci",)),
        (".gitlab-ci.yml", ("ci",)), ("Jenkinsfile", ("ci",)), (".gitattributes", ("git",)), ("a/.gitmodules", ("git",)),
        (".husky/pre-commit", ("git",)), (".devcontainer/x/y", ("devcontainer",)), (".vscode/tasks.json", ("editor",)),
        (".envrc", ("shell",)), (".envrc. ", ("shell",)), (".envrc::$DATA", ("shell",)), (".mcp.json", ("agent",)),
        (".claude/settings.json", ("agent",)), ("README", ()), ("src/main.py", ()), ("github/workflows/ci.yml", ()),
        ("docs/gitlab-ci.yml.md", ()), ("notes/.github", ()),
        ("hooks/pre-push", ("git",)), ("CODEOWNERS", ("ci",)), ("Makefile", ()), ("setup.py", ()), ("Dockerfile", ()),
    ],
)  # fmt: skip
def test_case_90_of_a_push_what_runs_by_being_there_is_a_trigger(path: str, kinds: tuple[str, ...]) -> None:
    assert of_pushed(path) == kinds


def test_what_needs_a_word_in_a_push_needs_one_on_its_way_to_the_operator_too() -> None:
    for path in (path for paths in CASES.values() for path in paths):
        here = {trigger.name for trigger in judge(Change(path, None, PLAIN), None, None)}
        assert set(of_pushed(path)) <= here


def test_every_trigger_has_a_case() -> None:
    assert set(NAMES) == {*CASES, SETUID, LINKS}


@pytest.mark.parametrize("link", ["/etc/passwd", "../x", "a/../../x", "./../../x", "/", ".git/hooks/p", "a/.GIT/config",
                                  "git~1", ".git."])  # fmt: skip
def test_a_link_that_leads_out_or_into_git_is_found(link: str) -> None:
    assert [t.name for t in judge(Change("link", None, Entry(LINK, 0o777, 0, link)), None, None)] == [LINKS]


@pytest.mark.parametrize("link", ["x", "../x", "../../top", "a/b/../c", ".", ""])
def test_a_link_that_stays_inside_is_plain(link: str) -> None:
    assert judge(Change("a/b/link", None, Entry(LINK, 0o777, 0, link)), None, None) == ()


def test_a_set_id_bit_is_found_at_once() -> None:
    assert [t.name for t in judge(Change("x", None, Entry(FILE, 0o4755, 1)), None, None)] == [SETUID]


OLD = b'{"name": "x", "version": "1", "scripts": {"test": "t"}, "dependencies": {"a": "1"}}'


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (b'{"name": "x", "version": "2", "scripts": {"test": "t"}, "dependencies": {"a": "1"}}', ""),
        (b'{"name": "x", "scripts": {"test": "t", "postinstall": "p"}, "dependencies": {"a": "1"}}', 'script "postinstall"'),
        (b'{"name": "x", "scripts": {"test": "u"}, "dependencies": {"a": "1"}}', 'script "test"'),
        (b'{"name": "x", "scripts": {"test": "t"}, "dependencies": {"a": "2"}}', '"dependencies"'),
        (b'{"name": "x", "scripts": 5, "dependencies": {"a": "1"}}', '"scripts"'),
        (b"no json", "package script"),
        (b"[" * 100_000, "package script"),
    ],
)
def test_of_a_package_file_what_matters_is_named(new: bytes, why: str) -> None:
    found = judge(Change("package.json", PLAIN, PLAIN), OLD, new)
    assert found == ((Trigger("packages", why),) if why else ())


def test_what_needs_a_word_stays_out_and_the_rest_goes_over(yard: Yard) -> None:
    """Case 100, end to end: nothing that runs later is on the host until its trigger was named."""
    plant(yard.host, {"src/a.py": "a"})
    yard.hand_in()
    plant(yard.bottle, {path: "evil" for paths in CASES.values() for path in paths} | {"src/b.py": "b"})
    said = yard.apply(allowed=frozenset())
    assert {path for path, entry in snapshot(yard.host).items() if entry[0] == "file"} == {"src/a.py", "src/b.py"}
    assert all(said[path].done == "refused" and said[path].why for paths in CASES.values() for path in paths)
    yard.apply(allowed=frozenset({"make"}))
    assert (yard.host / "Makefile").exists() and not (yard.host / ".envrc").exists()


def test_no_hook_or_setting_of_git_ever_goes_over_whatever_is_allowed(yard: Yard) -> None:
    """Case 5 and 6 on the way out."""
    yard.hand_in()
    plant(yard.bottle, dict.fromkeys((".git/hooks/pre-commit", "sub/.git/config", "x/.GIT/hooks/p", "mod/.git"), "evil"))
    yard.apply()
    assert sorted(snapshot(yard.host)) == ["mod", "sub", "x"]
