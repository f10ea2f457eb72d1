"""The layers of a bottle over the host's /usr and over its synthetic /etc and /var, as read-only overlays on the stage; for
a build with one more on top, which it writes to.

The kernel mounts them before bwrap starts, in the launcher's private mount namespace, so that any bwrap will do (--overlay
came with 0.11). Lower directories are given by their short names on the stage, where each lies as a detached copy opened
through no link: no path of the host is ever part of a mount option.
"""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from claude_bottle.backend import namespaces as ns
from claude_bottle.backend import sources
from claude_bottle.backend.bubblewrap.layer_store import CACHE, ROOT
from claude_bottle.backend.stage import STAGE
from claude_bottle.errors import EnvironmentLacks

# What of a layer is laid over what: its name on the stage, and where it lies in a layer and in a bottle.
PARTS = {"usr": "usr", "etc": "etc", "var": "var", "alternatives": "etc/alternatives", "dpkg": "var/lib/dpkg"}
# The same for a build, which has them on top as directories of these names.
BUILT = ("usr", "etc", "var", "dpkg")
_ALTERNATIVES, _DPKG = "/etc/alternatives", "/var/lib/dpkg"
_CACHE, _BUILD = "layered-cache", "build"
_FLAGS = ns.MS_NOSUID | ns.MS_NODEV


class System(NamedTuple):
    """What becomes /usr, /etc and its alternatives, and if there is one /var and dpkg's own part of it."""

    usr: str = "/usr"
    etc: str = f"{STAGE}/etc"
    alternatives: str = _ALTERNATIVES
    var: str = ""
    dpkg: str = ""
    writable: bool = False


class Pile(NamedTuple):
    """The layers of one launch, lowest first, looked at before the stage covers their place. `having` says which of them
    have which part, `cache` whether there is a cache of libraries for the whole of it; `users` and `groups` are the lines
    of passwd(5) and group(5) that they add. `build`: the directory of a build, with what it writes (`layer_root`)."""

    layers: tuple[Path, ...] = ()
    having: tuple[tuple[str, tuple[int, ...]], ...] = ()
    cache: bool = False
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    build: Path | None = None

    @classmethod
    def of(cls, layers: tuple[Path, ...], build: Path | None = None) -> Pile:
        if not layers:
            return cls(build=build)
        from claude_bottle.backend.bubblewrap import accounts

        having = {part: tuple(index for index, layer in enumerate(layers) if _is_directory(layer / ROOT / path))
                  for part, path in PARTS.items()}  # fmt: skip
        return cls(layers, tuple(having.items()), (layers[-1] / CACHE).is_file(), *accounts.of_layers(layers), build)

    def _has(self, part: str) -> tuple[int, ...]:
        return dict(self.having).get(part, ())

    def sources(self) -> list[sources.Source]:
        """What of the layers must be on the stage."""
        found = [sources.Source(str(self.layers[index] / ROOT / PARTS[part]), f"{part}-{index}", False)
                 for part, indices in self.having for index in indices if part in self._wanted()]  # fmt: skip
        if self.build is not None:
            found.append(sources.Source(str(self.build), _BUILD, False))
        return found + ([sources.Source(str(self.layers[-1] / CACHE), _CACHE, False)] if self.cache else [])

    def _wanted(self) -> tuple[str, ...]:
        return BUILT if self.build is not None else ("usr", "etc", "var", "alternatives")

    @property
    def cache_file(self) -> str | None:
        """Where the cache of libraries lies on the stage, if there is one."""
        return f"{STAGE}/{_CACHE}" if self.cache else None

    @property
    def has_var(self) -> bool:
        return bool(self._has("var"))

    def system(self) -> System:
        """What the root file system is made of."""
        made = {part: f"{STAGE}/layered-{part}" for part in self._wanted() if self._has(part) or self.build is not None}
        return System(**made, writable=self.build is not None)

    def mount(self, stage: int, user: int | None) -> None:
        """In the launcher, once the sources and our own /etc are on the stage. What is ours in /etc wins; of two layers
        the later one. `user`: the host's id of a build's root, where that is not us."""
        for part in self._wanted():
            layers = [f"{STAGE}/{part}-{index}" for index in reversed(self._has(part))]
            if self.build is not None:
                given = f"{STAGE}/{_BUILD}/given/{part}"
                below = {"usr": [*layers, "/usr"], "etc": [f"{STAGE}/etc", *layers, given], "var": [*layers, given],
                         "dpkg": [*layers, _DPKG]}[part]  # fmt: skip
                top = f"{STAGE}/{_BUILD}"
                below = [_mirror(stage, part, below, user), *below]
                _overlay(stage, part, below, f",upperdir={top}/upper/{part},workdir={top}/work/{part},userxattr")
            elif layers:
                below = {"usr": [*layers, "/usr"], "etc": [f"{STAGE}/etc", *layers], "var": [f"{STAGE}/var", *layers],
                         "alternatives": [*layers, _ALTERNATIVES]}[part]  # fmt: skip
                _overlay(stage, part, [place for place in below if os.path.isdir(place)])


def _mirror(stage: int, part: str, lower: list[str], user: int | None) -> str:
    """A tree of `lower`'s directories, empty and the build's own. Theirs belong to nobody that a build knows, so that it
    could add nothing to them; with this above them the kernel takes it for what they are."""
    made = f"{STAGE}/mirror-{part}"
    os.mkdir(f"mirror-{part}", 0o755, dir_fd=stage)
    ns.mount("tmpfs", made, "tmpfs", _FLAGS, "mode=0755,size=256m")
    with ns.files_as(user, user) if user is not None else nullcontext():
        if user is not None:
            os.chown(made, user, user)
        for index, place in enumerate(lower):
            _mirror_into(made, "", place, lower[:index])
    return made


def _mirror_into(made: str, below: str, place: str, above: list[str]) -> None:
    try:
        with os.scandir(place + below) as entries:
            found = [f"{below}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # closed to us, and so to the build
    for path in found:
        if any(os.path.lexists(other + path) and not _is_directory(Path(other + path)) for other in above):
            continue  # no directory any more
        with suppress(FileExistsError):
            os.mkdir(made + path, 0o755)
        _mirror_into(made, path, place, above)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _overlay(stage: int, part: str, lower: list[str], upper: str = "") -> None:
    name = f"layered-{part}"
    os.mkdir(name, 0o755, dir_fd=stage)
    try:
        if not upper and len(lower) == 1:  # the kernel wants two
            ns.mount(lower[0], f"{STAGE}/{name}", "", ns.MS_BIND)
            return
        ns.mount("overlay", f"{STAGE}/{name}", "overlay", _FLAGS | (0 if upper else ns.MS_RDONLY),
                 f"lowerdir={':'.join(lower)}{upper}")  # fmt: skip
    except OSError as failure:
        why = os.strerror(failure.errno or 0)
        if failure.errno == errno.EINVAL:
            why += f"; perhaps something is mounted below /{PARTS[part]} on this host"
        elif failure.errno in (errno.EPERM, errno.ENODEV):
            why += "; this kernel has no overlays in user namespaces"
        raise EnvironmentLacks("the layers of this bottle cannot be mounted", why=why,
                               do="use --backend docker, or start it without layers") from failure  # fmt: skip
    if upper and os.statvfs(f"{STAGE}/{name}").f_flag & os.ST_RDONLY:
        # What the kernel does when it cannot make its working directory, without a word.
        raise EnvironmentLacks("nothing can be built over this host's files", why="the kernel would only mount it read-only",
                               do="keep CLAUDE_BOTTLE_HOME on ext4, xfs or btrfs")  # fmt: skip
