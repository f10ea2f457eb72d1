"""Who the bottle's user is on the host, and the id maps that say so.

An ordinary operator's bottle runs under their own uid. Root's never runs as uid 0: it gets a uid of its
own from a range nobody else hands out, derived from the identity, and reaches the operator's files only
through id-mapped mounts. Nothing here is kept; a map lives as long as its user namespace.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from claude_bottle.backend import idmaps
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.base import GID, UID
from claude_bottle.digests import sha256

# systemd hands out up to 0x6FFFFFFF to containers, and subuid ranges end below; uids above 2^31 confuse
# programs.
_BASE, _SPAN = 0x70000000, 0x08000000


def host_uid(identity: str) -> int:
    """The uid (and gid) on the host of a root-started bottle's user."""
    digest = sha256(identity.encode()).digest()
    return _BASE + int.from_bytes(digest[:4], "big") % _SPAN


def enter_own_namespace(flags: int) -> None:
    """As an ordinary user: unshare a user namespace and `flags`, with the bottle's user mapped to
    ourselves."""
    outside = (os.geteuid(), os.getegid())
    # A keeper that boots its bottle again hides its memory, and in /proc what hides is root's, its maps too (proc(5)). We
    # are a copy of it that becomes bwrap in a moment.
    ns.prctl(ns.PR_SET_DUMPABLE, 1)
    ns.unshare(ns.CLONE_NEWUSER | flags)
    idmaps.write("/proc/self/setgroups", "deny")
    idmaps.write_maps("self", (UID, GID), outside)


class Role(NamedTuple):
    """Who a program is inside: uid, gid, and the capabilities (a mask) that it has there."""

    uid: int
    gid: int
    rights: int


AGENT = Role(UID, GID, 0)
# What dpkg and maintainer scripts need of root: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID; over the files
# and users of their own namespace, which are those of the build. No mount, no network, no namespace.
BUILDER = Role(0, 0, sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7)))


def become(role: Role) -> None:
    """Take the role's uid and gid, three times each, in a user namespace where we may."""
    if role.rights:
        os.setgroups([])  # an agent's namespace forbids it, and its groups have been dealt with
    os.setresgid(role.gid, role.gid, role.gid)
    os.setresuid(role.uid, role.uid, role.uid)
