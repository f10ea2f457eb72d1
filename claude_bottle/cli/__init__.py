"""The command line: a table of verbs, one module each, loaded when its verb is used.

A verb module has `configure(parser)`, `run(options) -> int` and EXAMPLES, and TAIL if something may follow `--`: it
parses, calls one workflow, prints. Exit codes are decided here and nowhere else (contract §1). Nothing heavy may be
imported at module level.
"""

from __future__ import annotations

import os
import signal
import sys

from claude_bottle.cli.delivery import Delivery
from claude_bottle.errors import BottleError, UsageError
from claude_bottle.log import error, mark, report, say  # by name: `log` is a verb in this package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from claude_bottle.cli.parsing import Parser

# verb → (group, one line). The module is claude_bottle.cli.<verb>.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("Begin", "the main job with no account: a real agent in a real bottle"),
    "init": ("Begin", "write a starter claude-bottle.json here"),
    "doctor": ("Begin", "what works on this machine, and the exact fix for what does not"),
    "start": ("Run", "show the plan, boot a bottle, attach to its agent"),
    "run": ("Run", "the same without a terminal: stdin, stdout, stderr pass through"),
    "resume": ("Run", "boot preserved state again, into the same conversation"),
    "fork": ("Run", "start a new bottle from another one's files and conversation"),
    "checkpoint": ("Run", "keep a bottle's files and conversation as they are now"),
    "checkpoints": ("Run", "list a bottle's checkpoints"),
    "rewind": ("Run", "take a bottle back to a checkpoint"),
    "attach": ("Watch", "connect this terminal to a running bottle (Ctrl-] detaches)"),
    "exec": ("Watch", "run a command in a running bottle"),
    "stop": ("Watch", "end a running bottle"),
    "dashboard": ("Watch", "all bottles at once: what they do, what they ask; decide"),
    "ls": ("Watch", "list bottles"),
    "log": ("Watch", "what happened to a bottle: its journal"),
    "egress": ("Watch", "what a bottle tried to reach: the gate's part of the journal"),
    "watch": ("Watch", "what its agent does, as it happens: files, commands, hosts"),
    "transcript": ("Watch", "the conversation, safe to print"),
    "requests": ("Decide", "what stuck agents ask for"),
    "approve": ("Decide", "grant what an agent asked for, or less"),
    "reject": ("Decide", "refuse it, with a reason for the agent"),
    "grants": ("Decide", "what was granted beyond the manifests"),
    "revoke": ("Decide", "take a grant back, at once"),
    "diff": ("Carry over", "what a bottle changed, what would run later first"),
    "apply": ("Carry over", "put its changes into your directory"),
    "pull": ("Carry over", "bring its commits into your repository, as a branch"),
    "export": ("Carry over", "copy its files into a fresh directory"),
    "cleanup": ("Keep house", "remove preserved state and leftovers"),
    "image": ("Keep house", "the images container bottles are made from"),
    "manifest": ("Keep house", "check the manifest, or print its JSON Schema"),
    "trust": ("Keep house", "consent to what this project's manifest grants"),
    "completion": ("Keep house", "shell completion for bash, zsh or tcsh"),
}
_ABOUT = "claude-bottle: let go of a coding agent without letting go of anything else."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name); its exit code. Never raises, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    environ = dict(os.environ)  # as the operator gave it: a verb may change its own
    mark("interpreter")
    delivery = Delivery()
    try:
        code = _dispatch(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except BottleError as problem:
        error(problem)
        code = problem.exit_code
    except KeyboardInterrupt as told:
        say("interrupted")
        code = 128 + (told.args[0] if told.args else signal.SIGINT)
    except Exception as bug:
        code = _unexpected(bug, delivery, words, environ)
    if os.environ.get("CLAUDE_BOTTLE_TIMING") == "1":
        from claude_bottle.cli.timing import process_started

        mark("end")
        report(process_started())
    return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        from claude_bottle import __version__

        print(f"claude-bottle {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"unknown command {verb[:40]!r}", do=_suggestion(verb))
    module, parser = load(verb)
    own, agents = split_at_dashes(words[1:]) if parser.tail else (words[1:], None)
    options = parser.parse_args(own)
    options.passed = agents
    mark("command line")
    code: int = module.run(options)
    return code


def load(verb: str) -> tuple[Any, Parser]:
    """A verb's module, and its parser with the module's options."""
    from importlib import import_module

    from claude_bottle.cli.parsing import Parser

    module = import_module(f"claude_bottle.cli.{verb}")
    parser = Parser(verb, module.__doc__ or "", tail=getattr(module, "TAIL", ""), examples=module.EXAMPLES)
    module.configure(parser)
    return module, parser


def split_at_dashes(words: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands before and after the first `--`; after is None when there is no `--`."""
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def overview() -> str:
    """What `claude-bottle` alone says: every verb with one line, grouped. At most 80 columns."""
    lines = [_ABOUT, "", "usage: claude-bottle COMMAND [options]   (COMMAND --help says more)"]
    group = ""
    for verb, (section, summary) in VERBS.items():
        if section != group:
            lines += ["", section]
            group = section
        lines.append(f"  {verb:<12}{summary}")
    lines += ["", "First time? claude-bottle demo.  Something wrong? claude-bottle doctor."]
    return "\n".join(lines)


def cmd_start(argv: Sequence[str]) -> int:
    """The original interface: `start` with these arguments; returns the exit code."""
    return main(["start", *argv])


def _suggestion(verb: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, n=1)
    return f"did you mean: claude-bottle {close[0]}" if close else "claude-bottle --help lists the commands"


def _unexpected(bug: Exception, delivery: Delivery, words: list[str], environ: dict[str, str]) -> int:
    """Output that cannot be delivered is not a bug; whatever else arrives here is one."""
    if isinstance(bug, OSError) and (problem := delivery.problem()) is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the interpreter still wants to flush at exit
        if isinstance(problem, BrokenPipeError):
            return 128 + signal.SIGPIPE  # the reader (`| head`) has seen enough; as programs end that say nothing of it
        error(BottleError("cannot write to standard output", why=problem.strerror or str(problem)))
        return 1
    from claude_bottle.cli import bug as bugs

    return bugs.report(bug, words, environ)
