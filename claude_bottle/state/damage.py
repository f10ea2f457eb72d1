"""The errors for state on disk that cannot be used, and for a disk that cannot be written.

Nothing here touches the disk. Each error says what to do. Nothing was changed: damaged state is kept.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from pathlib import Path


class Damaged(BottleError):
    """A file of ours that cannot be trusted or understood. It is kept as it is; `do` says how to go on."""


def damaged(path: Path | str, why: str) -> Damaged:
    """The error for a file whose content makes no sense."""
    return Damaged(
        f"{path} is damaged",
        why=why,
        do=f"nothing was changed; restore it from a backup, or move it away: mv {quoted(path)} {quoted(path)}.damaged",
    )


def quoted(path: Path | str) -> str:
    """A path in a command that is to be copied into a shell."""
    import shlex

    return shlex.quote(str(path))


def cannot(verb: str, path: Path | str, problem: OSError) -> BottleError:
    """The error for a system call that failed on `path`; `verb` completes "cannot …"."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        do = "free some space there (claude-bottle cleanup removes what is no longer needed), then repeat"
    else:
        do = "see that you may write there, or set CLAUDE_BOTTLE_HOME to another directory"
    return BottleError(f"cannot {verb} {path}", why=os.strerror(problem.errno or 0), do=do)
