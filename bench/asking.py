"""How long a stuck agent waits for others than its operator: until its request is seen, and until a decision is in force.

One bottle; a program inside asks for one host after another by plain HTTP and waits. Beside it a client follows the keeper's
requests, as a dashboard does, and approves each at once. All clocks are CLOCK_MONOTONIC of one machine.
"""

from __future__ import annotations

import json
import subprocess
import time

from bench.figures import Ratio, Report, figure
from bench.product import Product
from claude_bottle.keeper.client import Control
from claude_bottle.state.paths import Paths

GOAL_SECONDS = 1.0
# As many as are taken at once (`supervise.intake.BURST`, and the gate's own limit).
MOST = 15
_AGENT = r"""
import json, sys, time, urllib.request
for line in sys.stdin:
    body = json.dumps({"kind": "egress", "rules": [{"host": line.strip(), "methods": ["GET"]}], "reason": "bench"}).encode()
    asked = urllib.request.Request("http://bottle.internal/request?wait=600", body, {"content-type": "application/json"})
    before = time.monotonic()
    with urllib.request.urlopen(asked, timeout=600) as answer:
        state = json.loads(answer.read())["state"]
    print(json.dumps([before, time.monotonic(), state]), flush=True)
"""


def measure(report: Report, product: Product, runs: int) -> None:
    visible, in_force = [], []
    with product.idle_bottle() as identity:
        for seen, granted in _rounds(product, identity, min(runs, MOST)):
            visible.append(seen)
            in_force.append(granted)
    report.sections["a stuck agent"] = [
        figure("request → seen by who follows", visible, "s"), figure("decision → the agent's call returns", in_force, "s"),
    ]  # fmt: skip
    report.ratios.append(Ratio("request visible, p95", _p95(visible), GOAL_SECONDS, unit="s"))
    report.ratios.append(Ratio("live grant in force, p95", _p95(in_force), GOAL_SECONDS, unit="s"))


def _rounds(product: Product, identity: str, runs: int) -> list[tuple[float, float]]:
    paths, found = Paths(product.home), []
    argv = product.argv("exec", identity, "--", "/usr/bin/python3", "-I", "-c", _AGENT)
    agent = subprocess.Popen(
        argv, cwd=product.place, env=product.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with Control(paths, identity) as watcher:
        following = watcher.follow_requests()
        next(following)
        for number in range(runs):
            _say(agent, f"host{number}.example.com")
            message = next(one for one in following if _waiting(one))
            seen = time.monotonic()
            view, decided = _waiting(message)[0], time.monotonic()
            with Control(paths, identity) as decider:
                list(decider.decide({"op": "approve", "id": view["id"], "hash": view["hash"], "scope": "session",
                                     "revision": message["revision"]}))  # fmt: skip
            before, after, state = json.loads(agent.stdout.readline() if agent.stdout else "[]")
            if state != "applied":
                raise SystemExit(f"a grant was {state}")
            found.append((seen - before, after - decided))
    agent.communicate()
    return found


def _say(agent: subprocess.Popen[str], line: str) -> None:
    if agent.stdin:
        agent.stdin.write(line + "\n")
        agent.stdin.flush()


def _waiting(message: dict[str, object]) -> list[dict[str, object]]:
    views = message["requests"]
    return [one for one in views if one["state"] == "submitted"] if isinstance(views, list) else []


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


