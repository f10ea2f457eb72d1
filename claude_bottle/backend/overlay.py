"""A workspace that lies over the operator's directory: their files read-only below, a private layer above.

Mounted on the stage, in a mount namespace of the mounter's own, so that it costs the same for a directory of any size and
this host's table of mounts never has it. The attributes by which overlayfs hides things are the user's own
(`userxattr`), for root too: one who may write them is then one who may read the layer later. As root both layers are
id-mapped, and the mounter is the bottle's user as far as files are concerned, because it is what the layer's files are made
as. On disk they are the owner's of the state root, whoever the bottle's user is: the next one may run elsewhere.
"""

from __future__ import annotations

import contextlib
import os

from claude_bottle.backend import namespaces as ns
from claude_bottle.backend import sources
from claude_bottle.backend.base import Overlay
from claude_bottle.backend.stage import STAGE
from claude_bottle.errors import EnvironmentLacks

_LOWER, _LAYERS, MERGED = "lower", "layers", "workspace"
# What the kernel takes as the upper layer (it must know user attributes, whiteouts and d_type), as mountinfo calls it.
_KEEPS = frozenset({"ext4", "ext3", "ext2", "xfs", "btrfs", "tmpfs", "f2fs", "bcachefs", "zfs"})


def layers(overlay: Overlay) -> list[sources.Source]:
    """What must be on the stage for `mount`."""
    return [
        sources.Source(str(overlay.source), _LOWER, False, shared=True),
        sources.Source(str(overlay.place), _LAYERS, True, shared=True),
    ]


def mount(overlay: Overlay, user: tuple[int, int] | None) -> None:
    """Mount it as MERGED on the stage. `user`: the bottle's uid and gid on the host, for root. EnvironmentLacks where the
    kernel cannot."""
    below = [f"{STAGE}/{_LAYERS}/{name}" for name in overlay.below]
    options = (
        f"lowerdir={':'.join([*below, f'{STAGE}/{_LOWER}'])},upperdir={STAGE}/{_LAYERS}/upper,"
        f"workdir={STAGE}/{_LAYERS}/work,userxattr"
    )
    target = f"{STAGE}/{MERGED}"
    os.mkdir(target, 0o755)
    try:
        with ns.files_as(*user) if user is not None else contextlib.nullcontext():
            ns.mount("overlay", target, "overlay", ns.MS_NOSUID | ns.MS_NODEV, options)
    except OSError as failure:
        raise _lacks(overlay, failure.strerror or str(failure)) from None
    if os.statvfs(target).f_flag & os.ST_RDONLY:
        # What the kernel does when it cannot make its working directory, without a word.
        raise _lacks(overlay, "the kernel would only mount it read-only")


def _lacks(overlay: Overlay, why: str) -> EnvironmentLacks:
    return EnvironmentLacks(f"cannot lay a private layer over {overlay.source}", why=why,
                            do='say "workspace": {"mode": "copy"} in the manifest')  # fmt: skip


def why_not(source: str, layers_at: str) -> str:
    """Why no layer kept at `layers_at` can lie over `source`, in words; "" if it can, as far as looking tells."""
    mounts = _mounts()
    inside = next((place for place, _ in mounts if place.startswith(source.rstrip("/") + "/")), None)
    if inside is not None:
        return f"something is mounted in it, at {inside}, which an overlay would hide"
    kind = max(((place, kind) for place, kind in mounts if _within(layers_at, place)), default=("", ""), key=_length)[1]
    if kind not in _KEEPS:
        return f"the state root lies on {kind or 'an unknown file system'}, which takes no upper layer"
    return ""


def _length(one: tuple[str, str]) -> int:
    return len(one[0])


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _mounts() -> list[tuple[str, str]]:
    """(place, kind of file system) of what is mounted here; proc_pid_mountinfo(5)."""
    found = []
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields, _, rest = line.partition(b" - ")
            place = fields.split()[4].decode("unicode_escape", "surrogateescape").encode("latin-1", "surrogateescape")
            found.append((os.fsdecode(place), rest.split()[0].decode()))
    return found
