"""Which system this host is, since a bottle here is made of its /usr: what its packages are called and where they lie.

Reads /etc/os-release. A layer belongs to the system it was built on, so `base` is part of its name.
"""

from __future__ import annotations

import os
from pathlib import Path

from claude_bottle.errors import EnvironmentLacks
from claude_bottle.model.policy import Rule
from claude_bottle.state.config import Registry
from claude_bottle.values import dataclass

# Where the keys of the operator's own registry lie in a build bottle.
KEYRING = "/opt/claude-bottle/apt-keyring"
_OS_RELEASE = Path("/etc/os-release")
_PYTHON = "/usr/bin/python3"
_UBUNTU = ("archive.ubuntu.com", "security.ubuntu.com")
_READ = ("GET", "HEAD")


@dataclass(frozen=True)
class Source:
    """One stanza of sources (sources.list(5), deb822 style)."""

    url: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str

    def text(self) -> str:
        parts = f"Components: {' '.join(self.components)}\n" if self.components else ""
        return f"Types: deb\nURIs: {self.url}\nSuites: {' '.join(self.suites)}\n{parts}Signed-By: {self.keyring}\n"


def base() -> str:
    """What of this host decides whether a layer fits: the system's release, the machine, and the Python that packages are
    unpacked for, which on a system without releases tells most."""
    said = os_release()
    release = said.get("VERSION_ID") or said.get("VERSION_CODENAME") or said.get("BUILD_ID") or ""
    return f"{said.get('ID', '')} {release} {os.uname().machine} {os.path.basename(os.path.realpath(_PYTHON))}"


def os_release() -> dict[str, str]:
    """os-release(5); empty where there is none."""
    try:
        lines = _OS_RELEASE.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, mark, value in (line.partition("=") for line in lines) if mark}


def sources(registry: Registry | None) -> tuple[Source, ...]:
    """Where apt finds packages that fit this host. EnvironmentLacks for a system whose packages are no Debian ones."""
    if registry is not None:
        keys = KEYRING if registry.keyring else _keyring("debian")
        return (Source(registry.url, registry.suites, registry.components, keys),)
    said = os_release()
    system, release = said.get("ID", ""), said.get("VERSION_CODENAME", "")
    if system == "debian" and release:
        keys, where = _keyring(system), "https://deb.debian.org"
        return (Source(f"{where}/debian", (release, f"{release}-updates"), ("main",), keys),
                Source(f"{where}/debian-security", (f"{release}-security",), ("main",), keys))  # fmt: skip
    if system == "ubuntu" and release:
        keys, parts = _keyring(system), ("main", "universe")
        return (Source(f"http://{_UBUNTU[0]}/ubuntu", (release, f"{release}-updates"), parts, keys),
                Source(f"http://{_UBUNTU[1]}/ubuntu", (f"{release}-security",), parts, keys))  # fmt: skip
    raise EnvironmentLacks("apt packages do not fit this host", why=f"it is {said.get('PRETTY_NAME') or 'an unknown system'}",
                           do='use --backend docker, or name a registry that fits: "registries" in config.json')  # fmt: skip


def apt_rules() -> tuple[Rule, ...] | None:
    """What `sources` reaches where that is not what the preset says."""
    if os_release().get("ID") != "ubuntu":
        return None
    return tuple(Rule(host, port, _READ, ("/ubuntu/**",)) for host in _UBUNTU for port in (80, 443))


def _keyring(system: str) -> str:
    path = f"/usr/share/keyrings/{system}-archive-keyring.gpg"
    if not os.path.isfile(path):
        raise EnvironmentLacks("the keys of the package archive are missing", why=path,
                               do=f"sudo apt install {system}-archive-keyring")  # fmt: skip
    return path
