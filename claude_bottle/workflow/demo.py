"""The main job with no account: real Claude Code in a real bottle, its model a script on loopback.

Everything is as in a real start but for three things, all thrown away afterwards: the state root, the manifest, and an
operator setting (`upstreams`) that leads the model's host name to the scripted server. The credential is as secret to
the agent as a real one.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_bottle import harness as harnesses
from claude_bottle import log, proc
from claude_bottle.errors import BottleError
from claude_bottle.harness.progress import ProgressLine
from claude_bottle.state.files import write_atomic
from claude_bottle.state.paths import Paths
from claude_bottle.state.removal import remove_tree
from claude_bottle.workflow.start import Options, start

KEY = "SCRIPTED_MODEL_KEY"
HOST = "model.bottle.test"
PROMPT = "Show me around."
MANIFEST = {
    "version": 1,
    "bottles": {"demo": {"egress": [{"preset": "scripted-model"}]}},
    "agents": {"claude": {"bottle": "demo", "harness": "claude"}},
}


def demo(*, only_tour: bool) -> int:
    """Run it. Without a terminal, or with `only_tour`, print the tour and end."""
    own = Paths.default()
    own.ensure_root()
    _ensure_agent(own)
    interactive = not only_tour and os.isatty(0) and os.isatty(1)
    with _throwaway(own) as place, _model(place):
        os.chdir(place / "project")
        if not interactive:
            from claude_bottle.workflow.tour import tour

            return tour(PROMPT)
        log.say("this is the plan every start shows; the model behind it is a script on this machine")
        code = start(Options(name="claude", args=(PROMPT,)))
        _stop_everything()
        log.say("the demo's state is removed; next: claude-bottle init in a project of your own")
        return code


def _ensure_agent(paths: Paths) -> None:
    harness = harnesses.get("claude")
    if harness.find(paths) is None:
        log.say("Claude Code is not on this machine; installing it (once, some 400 MB)")
        with ProgressLine() as progress:
            harness.install(paths, progress)


@contextmanager
def _throwaway(own: Paths) -> Iterator[Path]:
    """A state root and a project of their own, below the operator's root (same disk, same rights)."""
    place = Path(tempfile.mkdtemp(prefix="demo-", dir=own.root))
    home = place / "home"
    for folder in (home, place / "project"):
        folder.mkdir(mode=0o700)
    write_atomic(home / "claude-bottle.json", json.dumps(MANIFEST).encode())
    os.environ.update({"CLAUDE_BOTTLE_HOME": str(home), "CLAUDE_BOTTLE_TOOLS": str(own.tools)})
    try:
        yield place
    finally:
        _stop_everything()
        os.chdir("/")
        remove_tree(place)


@contextmanager
def _model(place: Path) -> Iterator[None]:
    """The scripted model, told to the gate as the operator's own upstream. It dies with us."""
    os.environ[KEY] = secrets.token_urlsafe(24)
    argv = [sys.executable, "-m", "claude_bottle.testing.model", "--directory", str(place),
            "--die-with", str(os.getpid())]  # fmt: skip
    server = proc.popen(argv, env={**proc.base_env(), KEY: os.environ[KEY]}, stdout=proc.PIPE, stdin=proc.DEVNULL)
    try:
        line = server.stdout.readline() if server.stdout else b""
        if not line:
            raise BottleError("the scripted model did not start", why=f"it ended with {server.wait()}")
        ready = json.loads(line)
        upstream = {"connect": f"127.0.0.1:{ready['port']}", "ca": ready["ca"]}
        config = {"upstreams": {f"{HOST}:443": upstream}}
        write_atomic(place / "home" / "config.json", json.dumps(config).encode())
        yield
    finally:
        server.terminate()
        server.wait()


def _stop_everything() -> None:
    """Bottles of the demo never outlive it: a detached one would lose its model."""
    from claude_bottle.workflow.listing import listing
    from claude_bottle.workflow.stop import stop

    for row in listing(everything=False):
        stop(str(row["identity"]), keep=False, timeout=3)
