"""The root file system of the tests' base image: a small Debian, or Ubuntu, made by mmdebstrap from apt's own sources.

No container registry is needed. The archive is kept in the user's cache, one file per recipe, so that only the first
run takes half a minute; two workers wait for one another.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

TAG = "claude-bottle-tests/base:latest"
PACKAGES = ("ca-certificates", "curl", "git", "procps", "python3", "python3-cryptography", "ripgrep")
OPTIONS = [
    "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info")),
    # Neither apt's lists nor what differs from run to run.
    "--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/* $1/var/log/*",
]  # fmt: skip


def root_file_system() -> Path | str:
    """The archive, made if there is none yet; or why there can be none."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    sources = apt_sources()
    key = hashlib.sha256(repr((suite, sources, OPTIONS)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claude-bottle-tests"
    archive = cache / f"rootfs-{suite}-{os.uname().machine}-{key}.tar"
    if archive.exists():
        return archive
    program = shutil.which("mmdebstrap")
    if program is None or not suite or not sources:
        return "no base image: mmdebstrap is not installed, or this is not Debian or Ubuntu"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if archive.exists():
            return archive
        for old in cache.glob("rootfs-*"):
            old.unlink()
        growing = archive.with_suffix(".growing.tar")
        command = [program, *OPTIONS, suite, str(growing), "-"]
        done = subprocess.run(command, input=sources, capture_output=True, text=True, check=False, timeout=500)
        if done.returncode:
            growing.unlink(missing_ok=True)
            return f"mmdebstrap failed: {' '.join(done.stderr.split())[-300:]}"
        growing.rename(archive)
    return archive


def apt_sources() -> str:
    """What this machine's apt installs its own distribution from: the main file, one-line or deb822."""
    if shutil.which("apt-config") is None:
        return ""
    question = ["apt-config", "shell", "parts", "Dir::Etc::sourceparts/d", "list", "Dir::Etc::sourcelist/f"]
    said = subprocess.run(question, capture_output=True, text=True, check=True).stdout
    places = dict(re.findall(r"(\w+)='(.*)'", said))
    for path in (Path(places["parts"], "debian.sources"), Path(places["parts"], "ubuntu.sources"), Path(places["list"])):
        if path.is_file() and (text := path.read_text().strip()):
            return text + "\n"
    return ""
