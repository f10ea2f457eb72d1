"""A bug: say so in two lines, and leave a report that can be filed as it is.

The report holds the traceback and versions, no argument after `--`, no value of the environment (each is replaced by
its name) and no credential that was read; it is written 0600 under the state root, or not at all when that is what is broken.
"""

from __future__ import annotations

import os
import sys

from claude_bottle import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Shorter values (1, xterm, a user's name) are no secrets and stand in every line of code by chance.
_SHORTEST = 6


def report(bug: BaseException, words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write the report under the state root that `environ` names, say where it is, return 70. Never raises."""
    log.say(f"this is a bug in claude-bottle: {type(bug).__name__}")
    try:
        log.say(f"a report you can file is in {_write(bug, words, environ)}")
    except Exception as problem:  # whatever is broken, the bug itself has been named above
        log.say(f"no report could be written: {type(problem).__name__}")
    return 70


def _write(bug: BaseException, words: Sequence[str], environ: Mapping[str, str]) -> str:
    import time

    from claude_bottle.redact import Redactor, printable
    from claude_bottle.state.files import ensure_private_dir, write_atomic
    from claude_bottle.state.paths import Paths

    paths = Paths.default(environ)
    paths.ensure_root()
    folder = paths.root / "reports"
    ensure_private_dir(folder)
    path = folder / time.strftime(f"bug-%Y%m%d-%H%M%S-{os.getpid()}.txt")
    text = without_environment(describe(bug, words), {**os.environ, **environ})
    if reading := sys.modules.get("claude_bottle.workflow.secrets"):  # not loaded: none was read
        text = Redactor(reading.already_read()).text(text)
    write_atomic(path, printable(text, keep_newlines=True).encode())
    return str(path)


def describe(bug: BaseException, words: Sequence[str]) -> str:
    """Versions, the command as far as it is ours, and the traceback (which shows code, not values)."""
    import platform
    import traceback

    from claude_bottle import __version__

    own = list(words[: words.index("--")]) if "--" in words else list(words)
    return "\n".join(
        [
            f"claude-bottle {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"command: claude-bottle {' '.join(own)}",
            "",
            *traceback.format_exception(bug),
        ]
    )


def without_environment(text: str, environ: Mapping[str, str]) -> str:
    """`text` with each environment value in it replaced by `$NAME`, the longest first."""
    for name, value in sorted(environ.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST:
            text = text.replace(value, f"${name}")
    return text
