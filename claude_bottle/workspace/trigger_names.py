"""The names of files that run without being called: one table, data only.

trigger → (what it is called, patterns). A pattern is a name at any depth, or several with `/` between, in lower case; with
`/` at its end it stands for a directory too, with all below it. `*` and `?` stay within a name.
"""

from __future__ import annotations

TABLE: dict[str, tuple[str, str]] = {
    "git": (
        "git",
        """
        .gitattributes .gitmodules .gitconfig .githooks/ .husky/ .gitsigners .lfsconfig .pre-commit-config.yaml
        .pre-commit-hooks.yaml lefthook*.yml lefthook*.yaml .lefthook/ .lefthook*.yml .overcommit.yml .lintstagedrc*
        lint-staged.config.* .simple-git-hooks* .captainhook*/ prek.toml
        """,
    ),
    "ci": (
        "CI",
        """
        .github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci*.yml .gitlab/ci/ .circleci/ .travis.yml
        jenkinsfile* azure-pipelines*.yml .azure-pipelines/ .azuredevops/ bitbucket-pipelines.yml .drone.yml
        .drone.star .woodpecker*/ appveyor.yml .appveyor.yml .buildkite/ .forgejo/ .gitea/ .cirrus.yml .cirrus.star
        .semaphore/ .teamcity/ .builds/ .build.yml cloudbuild.y*ml buildspec.yml .github/dependabot.y*ml
        renovate.json* .renovaterc* .goreleaser.y*ml netlify.toml vercel.json codecov.y*ml
        """,
    ),
    "packages": (
        "package script",
        """
        package.json .npmrc .yarnrc* .yarn/ .pnpmfile.* pnpm-workspace.yaml bunfig.toml deno.json* setup.py setup.cfg
        pyproject.toml hatch_build.py build.rs .cargo/ cargo.toml gemfile* *.gemspec .bundle/ rakefile* composer.json
        build.gradle* settings.gradle* gradlew* gradle/ mvnw* .mvn/ pom.xml build.sbt *.sbt mix.exs rebar.config*
        package.swift podfile *.csproj *.fsproj *.vbproj *.props *.targets nuget.config directory.build.* shard.yml
        dune-project stack.yaml *.cabal setup.hs pip.conf requirements*.txt constraints*.txt uv.toml pipfile
        poetry.toml binding.gyp makefile.pl build.pl go.work node_modules/
        """,
    ),
    "editor": (
        "editor",
        """
        .vscode/ *.code-workspace .idea/ *.iml .fleet/ .zed/ .vim/ .vimrc .exrc .nvimrc .nvim.lua .lvimrc
        .dir-locals.el .dir-locals-2.el .projectile *.sublime-project *.sublime-workspace .helix/ .editorconfig .vs/
        *.sln .theia/ .settings/ .project *.code-snippets .neoconf.json .emacs*/ .kakrc .ycm_extra_conf.py .clangd
        .eslintrc* eslint.config.* .prettierrc* prettier.config.* .stylelintrc* stylelint.config.* tsconfig*.json
        .swcrc .babelrc* babel.config.* tailwind.config.* postcss.config.*
        """,
    ),
    "devcontainer": (
        "container",
        """
        .devcontainer/ .devcontainer.json devcontainer.json dockerfile* *.dockerfile containerfile*
        docker-compose*.y*ml compose*.y*ml .dockerignore vagrantfile .gitpod* docker-bake* devfile.yaml .devfile.yaml
        skaffold.yaml tiltfile
        """,
    ),
    "shell": (
        "shell",
        """
        .envrc .env .env.* .mise*/ mise.toml .rtx*/ .tool-versions .autoenv* .nvmrc .node-version .python-version
        .ruby-version .ruby-gemset .sdkmanrc .rvmrc .bash*/ .profile .zsh*/ .zprofile .zlogin .zlogout .inputrc
        .tmux.conf .screenrc .ssh/ .gdbinit .lldbinit .curlrc .wgetrc flake.nix shell.nix default.nix devenv.*
        .devenv/ devbox.json .pythonrc* .irbrc .pryrc .rprofile .renviron .psqlrc .sqliterc .config/ .local/ .gnupg/
        desktop.ini autorun.inf *.desktop
        """,
    ),
    "make": (
        "build file",
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
        """
        *.pth conftest.py sitecustomize.py usercustomize.py tox.ini noxfile.py pytest.ini .pytest.ini .coveragerc
        pylintrc .pylintrc mypy.ini .mypy.ini ruff.toml .ruff.toml tasks.py dodo.py fabfile.py pyvenv.cfg .venv/ venv/
        .ipython/ *.egg-link *.egg-info/ *.dist-info/ __pycache__/ *.pyc manage.py conf.py wsgi.py asgi.py
        """,
    ),
    "agent": (
        "agent settings",
        """
        .claude/ claude.md claude.local.md .claude.json .mcp.json mcp.json claude-bottle.json agents.md
        agents.override.md agent.md .agents/ .cursor/ .cursorrules .cursorignore .codex/ .gemini/ gemini.md .aider*
        .windsurf*/ .continue*/ .opencode/ opencode.json* .github/copilot-instructions.md .github/instructions/
        .github/prompts/ .github/chatmodes/ .github/agents/ .copilot/ .roo*/ .kiro/ .amazonq/ .clinerules*/ .cline/
        .junie/ .goose*/ .augment*/ .trae/ .qwen/ qwen.md .crush*/ crush.md .amp/ .factory/ .warp*/ warp.md .rules/
        skill.md .pi/
        """,
    ),
}
