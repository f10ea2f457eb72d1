"""What a keeper says of an error that nobody expected: to whoever started it, and in a file, never with a secret in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.keeper.order import Order


def write_report(order: Order, bug: BaseException) -> str:
    """Write what is known of a bug of ours under the state root; where, or "" if that failed too."""
    import time
    import traceback

    from claude_bottle import __version__
    from claude_bottle.redact import printable
    from claude_bottle.state.files import ensure_private_dir, write_atomic

    text = f"claude-bottle {__version__} keeper\n\n{''.join(traceback.format_exception(bug))}"
    path = order.paths.root / "reports" / time.strftime(f"keeper-%Y%m%d-%H%M%S-{os.getpid()}.txt")
    try:
        ensure_private_dir(path.parent)
        write_atomic(path, printable(without_secrets(order, text), keep_newlines=True).encode())
    except Exception:  # the report must never hide the bug
        return ""
    return str(path)


def without_secrets(order: Order, text: str) -> str:
    """`text` of an unexpected error, which may quote whatever was at hand, without the values of the credentials."""
    from claude_bottle.redact import Redactor

    bound = order.gate.credentials if order.gate else ()
    return Redactor(one.secret.reveal() for one in bound).text(text)


def as_error(order: Order, problem: BaseException) -> BottleError:
    if isinstance(problem, BottleError):
        return problem
    return BottleError("the bottle could not be started", why=without_secrets(order, f"{type(problem).__name__}: {problem}"),
                       more=write_report(order, problem))  # fmt: skip
