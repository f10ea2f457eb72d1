"""What is run in a build bottle, for each kind of package: a shell script whose arguments are the packages.

It runs as the bottle's user, without a right, and leaves what it made below /workspace/layer, laid out as it shall lie
below `/`. Debian packages are installed as such where the build has ids enough (`installed`): as the build's own root,
into its own /usr, /etc and /var. Elsewhere their maintainer scripts do not run; what they would link by update-alternatives
is read from them afterwards (`alternatives`), by nobody but this host. Pure.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from claude_bottle.backend import packages
from claude_bottle.harness.trust_env import trust_environment
from claude_bottle.model.capability import APT, CARGO, GO, NPM, PIP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.backend.bubblewrap.distribution import Source
    from claude_bottle.state.config import Registry

WORK = "/workspace"
STATUS, OUR_PIP = "/opt/claude-bottle/dpkg-status", "/opt/claude-bottle/pip"
_PLAIN = re.compile(r"/(?:usr|bin|sbin|lib)(?:/[A-Za-z0-9][A-Za-z0-9._+-]*)+")
_MOST_LINKS = 500
_ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROLOGUE = """set -eu
cd /workspace
mkdir -p layer/usr/local/bin tmp
export TMPDIR=/workspace/tmp
need() { command -v "$1" > /dev/null || { echo "$2" >&2; exit 1; }; }
"""

_APT_SET_UP = """need apt-get "this host has no apt-get"; need dpkg-deb "this host has no dpkg-deb"
mkdir -p apt/lists/partial apt/cache/archives/partial apt/preferences.d apt/apt.conf.d control
apt() {
  apt-get -q -y -o Dir::State=/workspace/apt -o Dir::State::Lists=/workspace/apt/lists -o Dir::State::status="$STATUS" \\
    -o Dir::Cache=/workspace/apt/cache -o Dir::Etc=/workspace/apt -o Dir::Etc::sourcelist=/dev/null \\
    -o Dir::Etc::sourceparts=/workspace/sources -o Dir::Log=/tmp -o APT::Sandbox::User= -o Debug::NoLocking=1 \\
    -o Acquire::Languages=none -o Acquire::Retries=2 -o APT::Get::List-Cleanup=0 -o Dpkg::Use-Pty=0 \\
    -o APT::Update::Error-Mode=any -o Binary::apt::APT::Keep-Downloaded-Packages=1 "$@"
}
apt update
"""

_APT_UNPACKED = """apt install --download-only --no-install-recommends -- "$@"
found=0
for deb in apt/cache/archives/*.deb; do
  [ -e "$deb" ] || continue
  found=$((found + 1))
  echo "unpacking $(basename "$deb")"
  # Not --extract: nothing in a bottle may set a set-id bit, and no layer keeps one.
  dpkg-deb --fsys-tarfile "$deb" > tmp/files.tar
  tar --extract --file tmp/files.tar --directory layer --no-same-permissions --no-same-owner
  mkdir -p "control/$found"
  dpkg-deb --control "$deb" "control/$found"
done
"""

# What it installs is thrown away when something fails, so nothing is synced; no service is started (invoke-rc.d(8)).
_APT_INSTALLED = """apt install --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \\
  -o Dpkg::Options::=--force-confold -- "$@"
"""

_PIP = """need python3 "this bottle has no python3: ask for apt python3 first"
pip="-m pip"
python3 -m pip --version > /dev/null 2>&1 || pip=/opt/claude-bottle/pip
python3 $pip --version > /dev/null 2>&1 || { echo "this bottle has no pip: ask for apt python3-pip first" >&2; exit 1; }
python3 $pip install --root /workspace/layer --no-cache-dir --no-input --disable-pip-version-check \\
  --no-warn-script-location --ignore-installed -- "$@"
"""

_NPM = """need npm "this bottle has no npm: ask for apt npm first"
npm install --global --prefix /workspace/layer/usr/local --cache /workspace/tmp/npm --no-audit --no-fund \\
  --no-update-notifier --loglevel=warn -- "$@"
"""

_CARGO = f"""need cargo "this bottle has no cargo: ask for apt cargo first"
{packages.CARGO_READS_SPARSE}
cargo install --root /workspace/layer/usr/local -- "$@"
rm -f layer/usr/local/.crates.toml layer/usr/local/.crates2.json
"""

_GO = """need go "this bottle has no go: ask for apt golang-go first"
for package in "$@"; do
  case "$package" in *@*) ;; *) package="$package@latest" ;; esac
  echo "go install $package"
  go install -- "$package"
done
"""

_BODIES = {APT: _APT_SET_UP + _APT_UNPACKED, PIP: _PIP, NPM: _NPM, CARGO: _CARGO, GO: _GO}


def command(kind: str, items: Iterable[str], *, installed: bool = False) -> list[str]:
    """The argv of a build. Every item is an argument of its own and none can be an option (`model.capability`).
    `installed`: as the root of a build of its own, not by unpacking."""
    body = _APT_SET_UP + _APT_INSTALLED if installed else _BODIES[kind]
    return ["/bin/sh", "-c", _PROLOGUE + body, "build", *items]


def environment(kind: str, registry: Registry | None, *, installed: bool = False) -> dict[str, str]:
    """Beside the variables of every bottle."""
    url = registry.url if registry else ""
    made = {**trust_environment(), "LC_ALL": "C.UTF-8", "HOME": f"{WORK}/home", "CI": "1", "NO_COLOR": "1"}
    if kind == APT:
        made |= {"STATUS": STATUS, "DEBIAN_FRONTEND": "noninteractive"}
    if installed:
        made |= {"STATUS": "/var/lib/dpkg/status", "DEBCONF_NONINTERACTIVE_SEEN": "true", "PATH": _ROOTS_PATH}
    if kind == PIP:
        # Without a site of the user's, pip installs where --root leads.
        made |= {"PYTHONNOUSERSITE": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore",
                 **({"PIP_INDEX_URL": url} if url else {})}  # fmt: skip
    if kind == NPM and url:
        made["NPM_CONFIG_REGISTRY"] = url
    if kind == CARGO:
        made |= {"CARGO_HOME": f"{WORK}/cargo", "CARGO_TERM_COLOR": "never"}
    if kind == GO:
        made |= {"GOPATH": f"{WORK}/go", "GOBIN": f"{WORK}/layer/usr/local/bin", "GOCACHE": f"{WORK}/tmp/go",
                 "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local",
                 **({"GOPROXY": url, "GONOSUMDB": "*", "GOSUMDB": "off"} if url else {})}  # fmt: skip
    return made


def files(kind: str, registry: Registry | None, sources: tuple[Source, ...]) -> dict[str, str]:
    """What lies in /workspace when the build begins, by relative path."""
    if kind == APT:
        return {"sources/layer.sources": "\n".join(source.text() for source in sources)}
    if kind == CARGO and registry:
        index = packages.cargo_index(registry)
        replaced = f'[source.crates-io]\nreplace-with = "operator"\n[source.operator]\nregistry = "{index}"\n'
        return {"cargo/config.toml": replaced}
    return {}


def alternatives(script: str) -> list[tuple[str, str]]:
    """(link, path) of every `update-alternatives --install` of a maintainer script that stands there in plain words, its
    slaves too; none for what it computes. The script is hostile text: nothing but plain absolute paths comes out."""
    found: list[tuple[str, str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        if "update-alternatives" not in line or len(found) > _MOST_LINKS:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        for at, word in enumerate(words):
            if word in ("--install", "--slave") and len(words) > at + 3:
                link, path = words[at + 1], words[at + 3]
                if _PLAIN.fullmatch(link) and _PLAIN.fullmatch(path):
                    found.append((link, path))
    return found
