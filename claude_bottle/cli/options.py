"""Options that several verbs share, so that they mean and read the same everywhere."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.workflow.start import Options

# As in a manifest.
_MOST_CHECKPOINTS = 100


def add_launch(parser: argparse.ArgumentParser) -> None:
    """What `start`, `run` and `resume` have in common."""
    parser.add_argument("--cwd", action="store_true", help="work on a private copy of this directory")
    parser.add_argument("--backend", metavar="B", help="where to run; `doctor` lists what works here")
    parser.add_argument("--approvals", metavar="FILE", default="", help="requests that this file approves beforehand")
    parser.add_argument("--keep", action="store_true", help="preserve the state even if the agent ends with 0")


def add_confirmed_launch(parser: argparse.ArgumentParser) -> None:
    """What `start` and `resume` have in common beyond that."""
    add_launch(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json needs --dry-run")
    parser.add_argument("--remote-control", action="store_true", help="pass --remote-control to the agent")
    parser.add_argument("-y", "--yes", action="store_true", help="launch without asking")
    parser.add_argument("-d", "--detach", action="store_true", help="do not attach; print the identity")
    parser.add_argument(
        "--checkpoints", type=_count, metavar="N", help="take a checkpoint after each turn, keep the newest N (0: none)"
    )
    parser.add_argument("--expect-plan", metavar="D", help="refuse unless the digest begins with D (8+)")


def launch_options(options: argparse.Namespace, *, name: str) -> Options:
    """What was parsed by `add_confirmed_launch`, as the workflow wants it."""
    from claude_bottle.workflow.start import Options

    return Options(
        name=name,
        args=tuple(options.passed or ()),
        dry_run=options.dry_run,
        format=options.format,
        copy_cwd=options.cwd,
        remote_control=options.remote_control,
        yes=options.yes,
        detach=options.detach,
        backend=options.backend,
        expect_plan=options.expect_plan,
        keep=options.keep,
        approvals=options.approvals,
        checkpoints=options.checkpoints,
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`, which `--format json` means too; the result is `options.json`."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--format", action=_Format, dest="json", choices=("text", "json"), default=False, help="json: as --json"
    )


def add_identity(parser: argparse.ArgumentParser, *, running: bool = False) -> None:
    """`running` says that the verb is of use only while the bottle runs."""
    parser.add_argument("identity", metavar="IDENTITY", help=f"as shown by claude-bottle ls{'' if running else ' --all'}")


def add_include(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--include", metavar="GLOB", action="append", default=[], help="only these: a path, a directory, or with `*`"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > _MOST_CHECKPOINTS:
        raise argparse.ArgumentTypeError(f"a number from 0 to {_MOST_CHECKPOINTS}, not {text!r}")
    return int(text)


class _Format(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values == "json")
