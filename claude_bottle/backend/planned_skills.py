"""The skills of an agent: directories beside its manifest, read whole when it is planned.

A repository may bring them, so they are read like its prompt: below the manifest's directory, through no link, within
bounds. What they say is for the agent, in its bottle; nothing of them runs on this host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Skill
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to

if TYPE_CHECKING:
    from claude_bottle.manifest import Agent

MOST_FILES, MOST_BYTES, DEEPEST = 512, 8 << 20, 8
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def skills(agent: Agent) -> tuple[Skill, ...]:
    """The agent's skills with their content. BottleError for what is missing, a link, no skill, or too much."""
    return tuple(_skill(agent, path) for path in agent.skills)


def _skill(agent: Agent, path: str) -> Skill:
    top = fd = -1
    try:
        top = os.open(agent.directory, _DIRECTORY | os.O_CLOEXEC)
        fd = open_beneath(top, path, _DIRECTORY)
        files = tuple(sorted(_files(fd, "", [0, 0])))
        if not any(name == "SKILL.md" for name, _, _ in files):
            raise ValueError("it has no SKILL.md")
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise BottleError(
            f"cannot read a skill of {agent.name}", why=f"{path}: {why}",
            do='"skills" names directories with a SKILL.md beside or below the manifest',
        ) from problem  # fmt: skip
    finally:
        for opened in (fd, top):
            if opened >= 0:
                os.close(opened)
    digest = sha256()
    for name, content, program in files:
        digest.update(b"%d %d %d " % (len(name.encode()), len(content), program) + name.encode() + content)
    return Skill(path.rpartition("/")[2], files, digest.hexdigest())


def _files(directory: int, above: str, count: list[int]) -> Iterator[tuple[str, bytes, bool]]:
    """`count`: files and bytes so far. ValueError for a link, for what is no file, and beyond the bounds."""
    for name in sorted(os.listdir(directory)):
        path = f"{above}{name}"
        if not path.isprintable() or path.count("/") > DEEPEST:
            raise ValueError(f"{path!r} cannot be part of a skill")
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise ValueError(f"{path} is neither a file nor a directory")
        fd = open_beneath(directory, name, _DIRECTORY if stat.S_ISDIR(mode) else os.O_RDONLY)
        try:
            if stat.S_ISDIR(mode):
                yield from _files(fd, f"{path}/", count)
                continue
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path} is not a file")
            content = read_up_to(fd, MOST_BYTES - count[1])
            count[:] = count[0] + 1, count[1] + len(content)
            if count[0] > MOST_FILES or count[1] > MOST_BYTES:
                raise ValueError(f"more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
            yield path, content, bool(mode & 0o100)
        finally:
            os.close(fd)
