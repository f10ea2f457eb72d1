"""Files that run somewhere without being called by name, once a push is out: on the forge, in an editor, on a checkout.

One table, data only: name → (what it is called, patterns). A pattern is a name at any depth, or several with `/` between,
in lower case; with `/` at its end it stands for a directory and all below it; `*` and `?` stay within a name.
"""

from __future__ import annotations

import re

TABLE: dict[str, tuple[str, str]] = {
    "ci": (
        "CI",
        """
        .github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci*.yml .gitlab-ci*.yaml .gitlab/ci/ .circleci/
        .travis.yml jenkinsfile* azure-pipelines*.y*ml .azure-pipelines/ .azuredevops/ bitbucket-pipelines.yml .drone.y*ml
        .drone.star .drone.jsonnet .woodpecker*/ .woodpecker.y*ml appveyor.y*ml .appveyor.y*ml .buildkite/ .forgejo/ .gitea/
        .cirrus.yml .cirrus.star .semaphore/ .teamcity/ .builds/ .build.yml cloudbuild.y*ml buildspec.y*ml .tekton/
        .github/dependabot.y*ml .github/codeowners codeowners renovate.json* .renovaterc* .mergify.yml .github/mergify.yml
        """,
    ),
    "git": (
        "git",
        """
        .gitattributes .gitmodules .gitconfig .githooks/ .husky/ .gitsigners .lfsconfig .pre-commit-config.y*ml
        .pre-commit-hooks.y*ml lefthook*.y*ml .lefthook/ .lefthook*.y*ml .overcommit.yml .lintstagedrc* lint-staged.config.*
        .simple-git-hooks* .captainhook* prek.toml hooks/pre-* hooks/post-* hooks/commit-msg hooks/prepare-commit-msg
        """,
    ),
    "devcontainer": ("container", ".devcontainer/ .devcontainer.json devcontainer.json .gitpod* devfile.yaml .devfile.yaml"),
    "editor": (
        "editor",
        """
        .vscode/ *.code-workspace .idea/ .fleet/ .zed/ .vim/ .vimrc .exrc .nvimrc .nvim.lua .lvimrc .dir-locals.el
        .dir-locals-2.el *.sublime-project .helix/ .theia/ .kakrc
        """,
    ),
    "shell": ("shell", ".envrc .mise*/ mise.toml .mise.toml .tool-versions .autoenv* .bash* .profile .zsh* .ssh/ .gdbinit"),
    "agent": (
        "agent settings",
        """
        .claude/ .claude.json .mcp.json mcp.json claude-bottle.json .cursor/ .cursorrules .codex/ .gemini/ .aider*
        .windsurf*/ .continue*/ .opencode/ opencode.json* .roo*/ .kiro/ .amazonq/ .clinerules*/ .cline/ .goose*/
        """,
    ),
}
SUBMODULE, LINK = "submodule", "links"


def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    def one(pattern: str) -> str:
        return "".join({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char) for char in pattern)

    below = "|".join(one(pattern[:-1]) for pattern in patterns if pattern.endswith("/"))
    last = "|".join(one(pattern) for pattern in patterns if not pattern.endswith("/"))
    return re.compile(rf"(?:.*/)?(?:(?:{below or '(?!)'})(?:/.*)?|(?:{last or '(?!)'}))", re.DOTALL)


_EXPRESSIONS = {name: _expression(tuple(patterns.split())) for name, (_, patterns) in TABLE.items()}


def of_path(path: str) -> tuple[str, ...]:
    """The names of the triggers that a changed path is."""
    folded = "/".join(_folded(part) for part in path.split("/"))
    return tuple(name for name, expression in _EXPRESSIONS.items() if expression.fullmatch(folded))


def leads_out(path: str, link: str) -> bool:
    """Whether a symbolic link at `path` leads out of the tree or into a repository's own files."""
    depth = path.count("/")
    parts = re.split("/+", link)
    if link.startswith("/"):
        return True
    for part in parts:
        depth += {"..": -1, "": 0, ".": 0}.get(part, 1)
        if depth < 0 or _folded(part) in (".git", "git~1"):
            return True
    return False


def _folded(part: str) -> str:
    """As a file system would take it that knows no case, no trailing dots and no alternate streams."""
    return part.casefold().split(":")[0].rstrip(". ") or part
