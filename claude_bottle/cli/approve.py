"""Approve what an agent asked for: shown whole, asked once more, then brought into force; the agent goes on by itself."""

from __future__ import annotations

import argparse

EXAMPLES = """\
claude-bottle approve q-jnpk902t
claude-bottle approve q-jnpk902t --until 2h --path '/api/**'
claude-bottle approve q-jnpk902t --credential work-github --scope once"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="ID", help="as shown by claude-bottle requests")
    parser.add_argument("--scope", choices=("once", "session", "agent", "until"), default="",
                        help="one use, until the bottle ends (default), for this agent, until a time")  # fmt: skip
    parser.add_argument("--until", metavar="WHEN", default="", help="2h, 30m, 3d, 18:00, 2026-12-24: the scope until")
    parser.add_argument("--only", metavar="N", type=int, action="append", default=[], help="only the N-th rule; repeatable")
    parser.add_argument("--host", metavar="HOST", action="append", default=[], help="only this host; repeatable")
    parser.add_argument("--method", metavar="M", action="append", default=[], help="only this method; repeatable")
    parser.add_argument("--path", metavar="P", action="append", default=[], help="only this path; repeatable")
    parser.add_argument("--egress-bytes", metavar="N", type=int, help="only so much more of a budget")
    parser.add_argument("--usd", metavar="N", type=float, help="only so many more dollars")
    parser.add_argument("--credential", metavar="NAME", default="", help="use your credential of this name for it")
    parser.add_argument("--hash", metavar="H", default="", help="refuse unless the request's hash begins with H (16+)")
    parser.add_argument("-y", "--yes", action="store_true", help="approve without asking")


def run(options: argparse.Namespace) -> int:
    from claude_bottle.workflow.decide import Approval, approve
    from claude_bottle.workflow.narrowing import Narrowing

    narrowing = Narrowing(
        tuple(options.only), tuple(options.host), tuple(options.method), tuple(options.path), options.egress_bytes,
        options.usd,
    )
    return approve(
        Approval(options.request, options.scope, options.until, narrowing, options.credential, options.hash, options.yes)
    )
