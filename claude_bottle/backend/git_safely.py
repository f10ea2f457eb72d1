"""Running the host's git where nothing of a repository's own choosing can run: in repositories that we made.

Its configuration is what we wrote, and the command line's; neither the system's nor the operator's is read, no hook, helper,
filter, monitor or transport is left, and nothing is asked on a terminal. Whatever else it reads (objects, an index, files)
is data to it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from claude_bottle import proc

SECONDS = 600
_SETTINGS = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "core.excludesFile=/dev/null",
    "core.untrackedCache=false", "core.preloadIndex=false", "credential.helper=", "protocol.allow=never", "gc.auto=0",
    "maintenance.auto=false", "submodule.recurse=false", "diff.ignoreSubmodules=all", "advice.detachedHead=false",
    "core.commitGraph=false", "checkout.workers=2",
)  # fmt: skip
_ENVIRONMENT = {
    "LC_ALL": "C", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false",
    "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat", "GIT_EDITOR": "false",
}  # fmt: skip


def git(repository: Path, *words: str, work: Path | None = None, index: Path | None = None, input: bytes = b"") -> bytes:
    """What git printed, run in the repository `repository` (its .git directory, which we made) on the files of `work`.
    BottleError when it fails."""
    environment = {**_ENVIRONMENT, "PATH": proc.search_path(), "GIT_DIR": str(repository)}
    if work is not None:
        environment["GIT_WORK_TREE"] = str(work)
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    options = [word for setting in _SETTINGS for word in ("-c", setting)]
    return proc.run(["git", *options, *words], input=input, env=environment, cwd=work or "/", timeout=SECONDS).out


def settings(config: bytes) -> dict[str, list[str]]:
    """What a config file says, as data: no include is followed, nothing of it has any effect."""
    found: dict[str, list[str]] = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(config)
        file.flush()
        environment = {**_ENVIRONMENT, "PATH": proc.search_path(), "GIT_DIR": "/nonexistent"}
        said = proc.run(["git", "config", "--file", file.name, "--no-includes", "--null", "--list"], env=environment, cwd="/",
                        timeout=SECONDS, check=False)  # fmt: skip
    for entry in said.out.split(b"\0"):
        name, mark, value = entry.partition(b"\n")
        if mark:
            found.setdefault(os.fsdecode(name), []).append(os.fsdecode(value))
    return found
