"""Generate the docker backend's seccomp profile from the one policy table: the same decisions, as an engine reads them.

Usage: python scripts/seccomp_profile.py [FILE]. An engine's rule allows a call when comparisons of its arguments hold,
and everything else has the default action; so what the table refuses on conditions is written as the complement: the
smallest set of masked comparisons that together match every other value. Only the low 32 bits are ever compared. What the
container's first process adds by itself is allowed here (`OF_THE_FIRST`).
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

from claude_bottle.backend.bubblewrap import seccomp_policy as policy
from claude_bottle.backend.bubblewrap.seccomp_policy import Conditional, Test

EPERM, ENOSYS = 1, 38
TARGET = Path(policy.__file__).parents[1] / "docker" / "seccomp.json"

Cube = tuple[int, int]  # (mask, value): every number n with n & mask == value
Alternative = dict[int, Cube]  # argument → what it must match; all of them


def cubes(test: Test) -> list[Cube]:
    """Where a test holds."""
    if not test.any_of:
        return [(test.mask, test.value)]
    return [(1 << bit, 1 << bit) for bit in range(32) if test.mask >> bit & 1]


def complement(denied: list[Cube], known: Cube = (0, 0)) -> list[Cube]:
    """Cubes that together match exactly what none of `denied` matches, within `known`."""
    mask, value = known
    meeting = [(m, v) for m, v in denied if not (v ^ value) & m & mask]
    if not meeting:
        return [known]
    if any(not m & ~mask for m, _ in meeting):
        return []
    bit = max(b for m, _ in meeting for b in range(32) if (m & ~mask) >> b & 1)
    halves = [(mask | 1 << bit, value), (mask | 1 << bit, value | 1 << bit)]
    return [cube for half in halves for cube in complement(meeting, half)]


def alternatives(conditional: Conditional) -> list[Alternative]:
    """When the call is allowed: any of these."""
    if conditional.otherwise == policy.EPERM:
        return [{test.argument: (test.mask, test.value) for test in tests} for tests, _ in conditional.clauses]
    if len(conditional.clauses) == 1:
        tests = conditional.clauses[0][0]
        return [{test.argument: cube} for test in tests for cube in complement(cubes(test))]
    if any(len(tests) != 1 for tests, _ in conditional.clauses):
        raise ValueError("several clauses of several tests have no such complement")
    denied: dict[int, list[Cube]] = {}
    for (test,), _ in conditional.clauses:
        denied.setdefault(test.argument, []).extend(cubes(test))
    allowed = ([(argument, cube) for cube in complement(found)] for argument, found in denied.items())
    return [dict(choice) for choice in product(*allowed)]


def rule(
    names: list[str], action: str, alternative: Alternative | None = None, errno: int | None = None
) -> dict[str, object]:
    arguments = [
        {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
        for index, (mask, value) in sorted((alternative or {}).items())
        if mask
    ]
    extra = {} if errno is None else {"errnoRet": errno}
    return {"names": names, "action": action, **extra, "args": arguments}


def generate() -> bytes:
    rules = [rule(sorted((*policy.ALLOWED, *policy.OF_THE_FIRST)), "SCMP_ACT_ALLOW")]
    rules.append(rule(sorted(policy.UNREADABLE), "SCMP_ACT_ERRNO", errno=ENOSYS))
    for name, conditional in policy.CONDITIONAL.items():
        if name in policy.OF_THE_FIRST:
            continue
        rules += [rule([name], "SCMP_ACT_ALLOW", alternative) for alternative in alternatives(conditional)]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "archMap": [{"architecture": f"SCMP_ARCH_{name}", "subArchitectures": []} for name in ("X86_64", "AARCH64")],
    }
    head = json.dumps(profile, indent=1).removesuffix("\n}")
    # A rule a line: every launch sends it to the engine as it is, so it is short.
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in rules)
    return f'{head},\n "syscalls": [\n{lines}\n ]\n}}\n'.encode()


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_bytes(generate())
