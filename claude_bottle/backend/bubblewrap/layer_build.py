"""Building one layer: a bottle without an agent fetches and unpacks, then this host takes over what it made.

The build bottle is like any other: no right, its own root file system with the layers below, and a gate that grants the
package registry and nothing else. Debian packages are installed as Debian does it where this user has ids for it: the
bottle's user is root then over ids and files of the build's own (`layer_root`), and nothing else. What it leaves is hostile:
it is copied out with no link followed, without set-id bits and devices, bounded, into a directory of our own, which becomes
the layer only when all is well. A second bottle, without any network, then makes the cache of libraries that fits the whole
pile, and so proves that the pile can be mounted.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend import subids, tree
from claude_bottle.backend.base import BASE_ENV, Boot
from claude_bottle.backend.bubblewrap import distribution, layer_copy, layer_scripts
from claude_bottle.backend.bubblewrap.layer_overlay import Pile
from claude_bottle.backend.bubblewrap.layer_root import BuildRoot
from claude_bottle.backend.bubblewrap.layer_store import CACHE, ROOT, LayerStore
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.model.capability import APT, PIP
from claude_bottle.model.plan import BottlePlan, Mount, Workspace
from claude_bottle.redact import printable
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to, write_all

if TYPE_CHECKING:
    from claude_bottle.backend.base import Bottle, Outlet, Way
    from claude_bottle.backend.bubblewrap import accounts
    from claude_bottle.harness.base import Progress
    from claude_bottle.model.capability import Capability
    from claude_bottle.model.policy import Rule
    from claude_bottle.state.config import Registry

# Makes a bottle of `Boot` whose root file system has these layers; with ids, one that is root over them.
Launcher = Callable[[BottlePlan, Boot, Pile, "subids.Range | None"], AbstractContextManager["Bottle"]]

BUILD_SECONDS = 1800.0
MAX_BYTES = 8 << 30  # of one layer
RESERVE_BYTES = 1 << 30  # what a build leaves free on the disk of the state root
_TURN_SECONDS = 1.0
_SHOWN_LINES, _SHOWN_WIDTH = 12, 200
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_STATUS_LIMIT = 64 << 20
_CONF_LINE = re.compile(r"/[A-Za-z0-9._+-]+(?:/[A-Za-z0-9._+-]+)*")
_LDCONFIG = """set -eu
cat > conf
[ ! -e /etc/ld.so.conf ] || echo 'include /etc/ld.so.conf' >> conf
if [ -x /usr/sbin/ldconfig ]; then /usr/sbin/ldconfig -X -f /workspace/conf -C /workspace/cache 2> /dev/null; fi
test -d /usr/bin
"""


def build(
    store: LayerStore, below: tuple[Path, ...], name: str, capability: Capability, registry: Registry | None,
    granted: tuple[Rule, ...], progress: Progress, outlet: Outlet, launch: Launcher, base: str, *, installed: bool,
) -> None:  # fmt: skip
    """Make the layer `name` on top of `below` (lowest first) and put it into the store. `base`: what it fits
    (`distribution.base`); `installed`: see `layer_scripts`.
    BottleError as from `Backend.build_layer`; nothing is left then."""
    store.make_room()
    with store.staging() as place:
        for part in ("home", "work", "made", "given"):
            (place / part).mkdir(mode=0o700)
        job = _Job(place, below, capability, registry, granted, progress, launch)
        made = place / "made"
        if installed:
            new = job.install(outlet)
            copied = layer_copy.take_over(place / "root", made / ROOT, MAX_BYTES, installed=True)
            new.write(made)
        else:
            job.fetch(outlet)
            copied = layer_copy.take_over(place / "work", made / ROOT, MAX_BYTES)
        _make_cache(place, (*below, made), progress, launch)
        about = {"capability": capability.to_dict(), "base": base, "size": copied, "created": int(time.time())}
        store.publish(made, name, about)


class _Job(NamedTuple):
    """One build, in its directory."""

    place: Path
    below: tuple[Path, ...]
    capability: Capability
    registry: Registry | None
    granted: tuple[Rule, ...]
    progress: Progress
    launch: Launcher

    def install(self, outlet: Outlet) -> accounts.Accounts:
        """As the root of a file system of the build's own. The users it made."""
        identity = f"build-{os.urandom(3).hex()}"
        ids = subids.own(identity)
        if ids is None:
            raise EnvironmentLacks("packages cannot be installed here", why="this user has no range of ids any more",
                                   do="start or resume the bottle again, which plans it without")  # fmt: skip
        root = self.place / "root"
        root.mkdir(mode=0o755)
        own = BuildRoot(root, self.below, ids)
        own.make()
        self._run(identity, outlet, Pile.of(self.below, root), ids)
        return own.finish()

    def fetch(self, outlet: Outlet) -> None:
        """As the bottle's user, who unpacks."""
        self._run(f"build-{os.urandom(3).hex()}", outlet, Pile.of(self.below), None)

    def _run(self, identity: str, outlet: Outlet, pile: Pile, ids: subids.Range | None) -> None:
        kind, place, installed = self.capability.kind, self.place, ids is not None
        sources = distribution.sources(self.registry) if kind == APT else ()
        for relative, text in layer_scripts.files(kind, self.registry, sources).items():
            target = place / "work" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        mounts = _given(place / "given", self.registry) if kind == APT else _our_pip() if kind == PIP else ()
        self.progress(f"building the layer {self.capability.describe()}")
        with outlet(identity, self.granted) as way:
            ports = tuple(sorted({rule.port for rule in self.granted} - {80, 443}))
            boot = Boot(identity, place / "home", place / "work", way.registration, way.nonce, ports, way.bundle, mounts)
            with self.launch(plan_of(identity), boot, pile, ids) as bottle:
                words = layer_scripts.command(kind, self.capability.items, installed=installed)
                environment = {**BASE_ENV, **layer_scripts.environment(kind, self.registry, installed=installed)}
                _run(bottle, words, environment, b"", place, self.progress, way)


def plan_of(identity: str) -> BottlePlan:
    """A plan for a bottle of ours that nobody is shown."""
    return BottlePlan(identity, "build", "", "", "", "", (), Workspace("none", "/workspace"))


def _given(place: Path, registry: Registry | None) -> tuple[Mount, ...]:
    """What apt must know of this host, as files of our own: what is installed, so that it is not fetched again."""
    try:
        with _DPKG_STATUS.open("rb") as file:
            known = file.read(_STATUS_LIMIT)
    except OSError:
        known = b""
    (place / "status").write_bytes(known)
    found = [Mount(str(place / "status"), layer_scripts.STATUS)]
    if registry and registry.keyring:
        (place / "keyring").write_bytes(Path(registry.keyring).read_bytes())
        found.append(Mount(str(place / "keyring"), distribution.KEYRING))
    for path in place.iterdir():
        path.chmod(0o444)
    return tuple(found)


def _our_pip() -> tuple[Mount, ...]:
    """The pip that we were installed with, if any, for a host whose own Python has none."""
    import importlib.util

    found = importlib.util.find_spec("pip")
    if found is None or not found.origin:
        return ()
    return (Mount(os.path.realpath(os.path.dirname(found.origin)), layer_scripts.OUR_PIP),)


def _run(
    bottle: Bottle, words: list[str], env: dict[str, str], given: bytes, place: Path, progress: Progress, way: Way | None
) -> None:  # fmt: skip
    """A program of the build to its end, its output told line by line. BottleError when it fails, takes too long or too
    much of the disk."""
    source, sink = os.pipe(), os.pipe()
    try:
        os.set_blocking(source[1], False)
        os.write(source[1], given)
        os.close(source[1])
        if bottle.host_uid is not None:
            for fd in (source[0], sink[1]):
                os.fchown(fd, bottle.host_uid, -1)
        process = bottle.spawn(words, env=env, stdio=(source[0], sink[1], sink[1]))
    finally:
        os.close(source[0])
        os.close(sink[1])
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    try:
        why = _follow(sink[0], place, progress, last, way)
    finally:
        os.close(sink[0])
    if why:
        raise BottleError("the layer could not be built", why="\n".join([*last, why]))
    code = process.wait()
    refused = way.refused() if way else ()
    for line in refused:
        progress(line)
    if code:
        said = [*last, *refused] or [f"it ended with exit code {code}"]
        raise BottleError("the layer could not be built", why="\n".join(said), do="ask for other packages or versions")


def _follow(out: int, place: Path, progress: Progress, last: deque[str], way: Way | None) -> str:
    """Until the output ends; "" or why it must not go on."""
    deadline, rest = time.monotonic() + BUILD_SECONDS, b""
    while True:
        if select.select([out], [], [], _TURN_SECONDS)[0]:
            data = os.read(out, 1 << 16)
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > 1 << 16 or not data:
                lines, rest = [*lines, rest], b""
            for line in lines:
                shown = printable(line.decode("utf-8", "replace").strip(), width=_SHOWN_WIDTH)
                if shown:
                    last.append(shown)
                    progress(shown)
            if not data:
                return ""
        if way:
            way.refused()  # or a gate that has much to tell would wait for us
        if time.monotonic() > deadline:
            return f"it took longer than {BUILD_SECONDS / 60:g} minutes"
        free = os.statvfs(place)
        if free.f_bavail * free.f_frsize < RESERVE_BYTES:
            return f"less than {RESERVE_BYTES >> 30} GiB are left on the disk of the state root"


def _make_cache(place: Path, layers: tuple[Path, ...], progress: Progress, launch: Launcher) -> None:
    """The cache of libraries for the whole pile, made by the host's own ldconfig in a bottle of it without a network."""
    work, home = place / "last", place / "last-home"
    work.mkdir(mode=0o700)
    home.mkdir(mode=0o700)
    identity = f"build-{os.urandom(3).hex()}"
    with launch(plan_of(identity), Boot(identity, home, work), Pile.of(layers), None) as bottle:
        words = ["/bin/sh", "-c", _LDCONFIG]
        _run(bottle, words, dict(BASE_ENV), _library_directories(layers), place, lambda _line: None, None)
    with tree.opened(work) as hostile, suppress(FileNotFoundError):
        fd = open_beneath(hostile, "cache")
        try:
            data = read_up_to(fd, 16 << 20)
        finally:
            os.close(fd)
        target = os.open(layers[-1] / CACHE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            write_all(target, data)
        finally:
            os.close(target)


def _library_directories(layers: tuple[Path, ...]) -> bytes:
    """What the layers say in /etc/ld.so.conf.d, plain directories only: a bottle shows the host's."""
    found: list[str] = []
    for layer in layers:
        with suppress(FileNotFoundError), tree.opened(layer / ROOT) as root:
            try:
                directory = open_beneath(root, "etc/ld.so.conf.d", os.O_DIRECTORY)
            except OSError:
                continue
            try:
                for name in sorted(os.listdir(directory))[:100]:
                    with suppress(OSError, ValueError):
                        fd = open_beneath(directory, name)
                        try:
                            text = read_up_to(fd, 1 << 16).decode("utf-8", "replace") \
                                if stat.S_ISREG(os.fstat(fd).st_mode) else ""  # fmt: skip
                        finally:
                            os.close(fd)
                        found += [line.strip() for line in text.splitlines() if _CONF_LINE.fullmatch(line.strip())]
            finally:
                os.close(directory)
    return "".join(f"{line}\n" for line in found[:200]).encode()
