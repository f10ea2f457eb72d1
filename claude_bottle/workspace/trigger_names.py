"""The names of files that run without being called: one table, data only.

trigger → (what it is called, patterns, more patterns). A pattern is a name at any depth, or several with `/` between, in
lower case; with `/` at its end it stands for a directory too, with all below it. `*` and `?` stay within a name. The first
patterns are of files that run by being there: at the forge that a push reaches, on a checkout, when an editor, a shell or
an agent is opened in the directory. The second ones run once somebody builds, tests or works there.
"""

from __future__ import annotations

TABLE: dict[str, tuple[str, str, str]] = {
    "git": (
        "git",
        """
        .gitattributes .gitmodules .gitconfig .githooks/ .husky/ .gitsigners .lfsconfig .pre-commit-config.y*ml
        .pre-commit-hooks.y*ml lefthook*.y*ml .lefthook/ .lefthook*.y*ml .overcommit.yml .lintstagedrc*
        lint-staged.config.* .simple-git-hooks* .captainhook*/ prek.toml hooks/pre-* hooks/post-* hooks/commit-msg
        hooks/prepare-commit-msg
        """,
        "",
    ),
    "ci": (
        "CI",
        """
        .github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci*.yml .gitlab-ci*.yaml .gitlab/ci/
        .circleci/ .travis.yml jenkinsfile* azure-pipelines*.y*ml .azure-pipelines/ .azuredevops/
        bitbucket-pipelines.yml .drone.y*ml .drone.star .drone.jsonnet .woodpecker*/ .woodpecker.y*ml appveyor.y*ml
        .appveyor.y*ml .buildkite/ .forgejo/ .gitea/ .cirrus.yml .cirrus.star .semaphore/ .teamcity/ .builds/ .build.yml
        cloudbuild.y*ml buildspec.y*ml .tekton/ .github/dependabot.y*ml .github/codeowners codeowners renovate.json*
        .renovaterc* .mergify.yml .github/mergify.yml netlify.toml vercel.json
        """,
        ".goreleaser.y*ml codecov.y*ml",
    ),
    "packages": (
        "package script",
        "",
        """
        package.json .npmrc .yarnrc* .yarn/ .pnpmfile.* pnpm-workspace.yaml bunfig.toml deno.json* setup.py setup.cfg
        pyproject.toml hatch_build.py build.rs .cargo/ cargo.toml gemfile* *.gemspec .bundle/ rakefile* composer.json
        build.gradle* settings.gradle* gradlew* gradle/ mvnw* .mvn/ pom.xml build.sbt *.sbt mix.exs rebar.config*
        package.swift podfile *.csproj *.fsproj *.vbproj *.props *.targets nuget.config directory.build.* shard.yml
        dune-project stack.yaml *.cabal setup.hs pip.conf requirements*.txt constraints*.txt uv.toml pipfile poetry.toml
        binding.gyp makefile.pl build.pl go.work node_modules/
        """,
    ),
    "editor": (
        "editor",
        """
        .vscode/ *.code-workspace .idea/ .fleet/ .zed/ .vim/ .vimrc .exrc .nvimrc .nvim.lua .lvimrc .dir-locals.el
        .dir-locals-2.el *.sublime-project .helix/ .theia/ .kakrc
        """,
        """
        *.iml .projectile *.sublime-workspace .editorconfig .vs/ *.sln .settings/ .project *.code-snippets .neoconf.json
        .emacs*/ .ycm_extra_conf.py .clangd .eslintrc* eslint.config.* .prettierrc* prettier.config.* .stylelintrc*
        stylelint.config.* tsconfig*.json .swcrc .babelrc* babel.config.* tailwind.config.* postcss.config.*
        """,
    ),
    "devcontainer": (
        "container",
        ".devcontainer/ .devcontainer.json devcontainer.json .gitpod* devfile.yaml .devfile.yaml",
        """
        dockerfile* *.dockerfile containerfile* docker-compose*.y*ml compose*.y*ml .dockerignore vagrantfile
        docker-bake* skaffold.yaml tiltfile
        """,
    ),
    "shell": (
        "shell",
        ".envrc .mise*/ mise.toml .mise.toml .tool-versions .autoenv* .bash*/ .profile .zsh*/ .ssh/ .gdbinit",
        """
        .env .env.* .rtx*/ .nvmrc .node-version .python-version .ruby-version .ruby-gemset .sdkmanrc .rvmrc
        .zprofile .zlogin .zlogout .inputrc .tmux.conf .screenrc .lldbinit .curlrc .wgetrc flake.nix shell.nix
        default.nix devenv.* .devenv/ devbox.json .pythonrc* .irbrc .pryrc .rprofile .renviron .psqlrc .sqliterc
        .config/ .local/ .gnupg/ desktop.ini autorun.inf *.desktop
        """,
    ),
    "make": (
        "build file",
        "",
        """
        makefile* gnumakefile *.mk *.mak justfile .justfile *.just taskfile*.y*ml cmakelists.txt *.cmake
        cmakepresets.json cmakeuserpresets.json meson.build meson_options.txt configure configure.ac *.m4 build.bazel
        workspace.bazel module.bazel *.bzl .bazelrc build.xml build.zig* sconstruct sconscript wscript magefile.go
        earthfile procfile* gruntfile.* gulpfile.* webpack.config.* vite.config.* rollup.config.* next.config.*
        jest.config.* vitest.config.* karma.conf.* playwright.config.* cypress.config.* nx.json turbo.json buck
        pants.toml tup*
        """,
    ),
    "python": (
        "Python start-up",
        "",
        """
        *.pth conftest.py sitecustomize.py usercustomize.py tox.ini noxfile.py pytest.ini .pytest.ini .coveragerc
        pylintrc .pylintrc mypy.ini .mypy.ini ruff.toml .ruff.toml tasks.py dodo.py fabfile.py pyvenv.cfg .venv/ venv/
        .ipython/ *.egg-link *.egg-info/ *.dist-info/ __pycache__/ *.pyc manage.py conf.py wsgi.py asgi.py
        """,
    ),
    "agent": (
        "agent settings",
        """
        .claude/ .claude.json .mcp.json mcp.json claude-bottle.json .cursor/ .cursorrules .codex/ .gemini/ .aider*
        .windsurf*/ .continue*/ .opencode/ opencode.json* .roo*/ .kiro/ .amazonq/ .clinerules*/ .cline/ .goose*/
        """,
        """
        claude.md claude.local.md agents.md agents.override.md agent.md .agents/ .cursorignore gemini.md
        .github/copilot-instructions.md .github/instructions/ .github/prompts/ .github/chatmodes/ .github/agents/
        .copilot/ .junie/ .augment*/ .trae/ .qwen/ qwen.md .crush*/ crush.md .amp/ .factory/ .warp*/ warp.md .rules/
        skill.md .pi/
        """,
    ),
}
