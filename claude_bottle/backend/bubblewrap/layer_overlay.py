"""The layers of a bottle over the host's /usr and over its synthetic /etc, as read-only overlays on the stage.

The kernel mounts them before bwrap starts, in the launcher's private mount namespace, so that any bwrap will do (--overlay
came with 0.11). Lower directories are given by their short names on the stage, where each lies as a detached copy opened
through no link: no path of the host is ever part of a mount option.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from claude_bottle.backend import namespaces as ns
from claude_bottle.backend import sources
from claude_bottle.backend.bubblewrap.layer_store import CACHE, ROOT
from claude_bottle.backend.stage import STAGE
from claude_bottle.errors import EnvironmentLacks

_USR, _ETC, _CACHE = "layered-usr", "layered-etc", "layered-cache"
_FLAGS = ns.MS_RDONLY | ns.MS_NOSUID | ns.MS_NODEV


class Pile(NamedTuple):
    """The layers of one launch, lowest first, looked at before the stage covers their place. `usr` and `etc` say which of
    them have such a part, `cache` whether there is a cache of libraries for the whole of it."""

    layers: tuple[Path, ...] = ()
    usr: tuple[int, ...] = ()
    etc: tuple[int, ...] = ()
    cache: bool = False

    @classmethod
    def of(cls, layers: tuple[Path, ...]) -> Pile:
        having = {part: tuple(index for index, layer in enumerate(layers) if _is_directory(layer / ROOT / part))
                  for part in ("usr", "etc")}  # fmt: skip
        return cls(layers, having["usr"], having["etc"], bool(layers) and (layers[-1] / CACHE).is_file())

    def sources(self) -> list[sources.Source]:
        """What of the layers must be on the stage."""
        found = [sources.Source(str(self.layers[index] / ROOT / part), f"{part}-{index}", False)
                 for part, indices in (("usr", self.usr), ("etc", self.etc)) for index in indices]  # fmt: skip
        return found + ([sources.Source(str(self.layers[-1] / CACHE), _CACHE, False)] if self.cache else [])

    @property
    def cache_file(self) -> str | None:
        """Where the cache of libraries lies on the stage, if there is one."""
        return f"{STAGE}/{_CACHE}" if self.cache else None

    def system(self) -> tuple[str, str]:
        """What becomes /usr and /etc."""
        return f"{STAGE}/{_USR}" if self.usr else "/usr", f"{STAGE}/{_ETC}" if self.etc else f"{STAGE}/etc"

    def mount(self, stage: int) -> None:
        """In the launcher, once the sources and our own /etc are on the stage. What is ours in /etc wins; of two layers
        the later one."""
        if self.usr:
            _overlay(stage, _USR, [*(f"{STAGE}/usr-{index}" for index in reversed(self.usr)), "/usr"])
        if self.etc:
            _overlay(stage, _ETC, [f"{STAGE}/etc", *(f"{STAGE}/etc-{index}" for index in reversed(self.etc))])


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _overlay(stage: int, name: str, lower: list[str]) -> None:
    os.mkdir(name, 0o755, dir_fd=stage)
    try:
        ns.mount("overlay", f"{STAGE}/{name}", "overlay", _FLAGS, f"lowerdir={':'.join(lower)}")
    except OSError as failure:
        why = os.strerror(failure.errno or 0)
        if failure.errno == errno.EINVAL:
            why += "; perhaps something is mounted below /usr on this host"
        elif failure.errno in (errno.EPERM, errno.ENODEV):
            why += "; this kernel has no overlays in user namespaces"
        raise EnvironmentLacks("the layers of this bottle cannot be mounted", why=why,
                               do="use --backend docker, or start it without layers") from failure  # fmt: skip
