"""`python -m claude_bottle.testing.model`: the scripted model as a program of its own.

Prints one JSON line when it is ready ({"url", "port", "ca", "pid"}) and serves until it is told to stop or
its parent dies. Secrets are taken from the environment, never from the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from claude_bottle import log
from claude_bottle.errors import BottleError, Interrupted
from claude_bottle.testing.model_script import Script, parse
from claude_bottle.testing.model_server import DEFAULT_NAMES, ScriptedModel

SCRIPTS = Path(__file__).parent / "scripts"
KEY_VARIABLE = "SCRIPTED_MODEL_KEY"
_PR_SET_PDEATHSIG = 1


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        return _serve(options)
    except BottleError as problem:
        log.error(problem)
        return problem.exit_code


def load(path: Path) -> Script:
    """The script in a file. BottleError when it cannot be read or is broken."""
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, ValueError) as problem:
        raise BottleError(f"cannot read the model script {path}", why=str(problem)) from problem


def _serve(options: argparse.Namespace) -> int:
    if options.die_with:
        _die_with(options.die_with)
    key = os.environ.get(KEY_VARIABLE)
    # Held back, in every thread to come, and fetched below: one that arrives just before a process sleeps does not wake it.
    ends = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    model = ScriptedModel(
        load(options.script),
        keys=(key,) if key else (),
        port=options.port,
        tls=not options.plain,
        directory=options.directory,
        names=(*DEFAULT_NAMES, *options.name),
        record=options.record,
    )
    with model:
        ca_file = str(model.ca_file) if model.ca_file else None
        ready = {"url": model.url, "port": model.port, "ca": ca_file, "pid": os.getpid()}
        print(json.dumps(ready), flush=True)
        return Interrupted.exit_code if signal.sigwait(ends) == signal.SIGINT else 0


def _die_with(parent: int) -> None:
    """Have the kernel end us when the thread of `parent` that started us ends; at once if that has
    happened."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise BottleError("the process this server was to live with is gone")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claude_bottle.testing.model",
        description="A Messages API server on loopback that plays a script. See docs/scripted-model.md.",
        epilog=f"The accepted key comes from ${KEY_VARIABLE}; without it any credential will do.",
    )
    parser.add_argument("--script", type=Path, default=SCRIPTS / "demo.json", help="the script (default: the demo's)")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--directory", type=Path, default=Path(), help="where ca.pem is put (default: here)")
    parser.add_argument("--plain", action="store_true", help="http instead of https")
    parser.add_argument("--name", action="append", default=[], help="one more name for the certificate")
    parser.add_argument("--record", type=Path, help="append every request to this file, one JSON line each")
    parser.add_argument("--die-with", type=int, metavar="PID", help="end when this process, our parent, ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
