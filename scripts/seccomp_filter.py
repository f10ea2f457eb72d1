"""Generate the seccomp filters from `seccomp_policy`: the bytes and a readable dump.

Usage: python scripts/seccomp_filter.py. Writes seccomp_<arch>.bpf and seccomp_<arch>.txt next to the policy, for builds as
many users seccomp_build_<arch>.*, and what a container's first process adds for itself, docker/first_<arch>.bpf. pyseccomp
(a development dependency) is used only to look up system call numbers; the program is assembled here, because libseccomp
compares whole 64-bit arguments and its output differs by version.
"""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path

import pyseccomp

from claude_bottle.backend.bubblewrap import seccomp_policy as policy
from claude_bottle.backend.bubblewrap.seccomp_policy import Conditional, Test

ARCHITECTURES = {
    "x86_64": (0xC000003E, pyseccomp.Arch.X86_64),
    "aarch64": (0xC00000B7, pyseccomp.Arch.AARCH64),
}
# linux/bpf_common.h and linux/seccomp.h
LOAD, JUMP, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
ACTIONS = {policy.ALLOW: 0x7FFF0000, policy.EPERM: 0x00050001, policy.ENOSYS: 0x00050026, "KILL": 0x80000000}
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data; the low word of an argument comes first
X32_BIT = 0x40000000

BUBBLEWRAP = Path(policy.__file__).parent
DOCKER = BUBBLEWRAP.parent / "docker"

Instruction = tuple[int, int, int, int]
Decision = str | Conditional


def resolve(name: str, arch: int) -> int | None:
    """The number of a call on an architecture; None where it does not exist there."""
    number: int = pyseccomp.resolve_syscall(arch, name)
    if number >= 0:
        return number
    return policy.NUMBERS.get(name)


def decisions(arch: int, build: bool = False) -> dict[int, tuple[str, Decision]]:
    """Number → (name, decision) of everything but the default, for bottles or for builds as many users."""
    table: dict[int, tuple[str, Decision]] = {
        number: (f"#{number}", policy.ENOSYS) for number in range(policy.FIRST_NEW, policy.LAST_NEW + 1)
    }
    groups: list[tuple[str, Decision]] = [(name, policy.ALLOW) for name in policy.ALLOWED]
    groups += [(name, policy.EPERM) for name in policy.REFUSED]
    groups += [(name, policy.ENOSYS) for name in policy.UNREADABLE]
    groups += list((policy.CONDITIONAL | policy.FOR_BUILDS if build else policy.CONDITIONAL).items())
    for name, decision in groups:
        number = resolve(name, arch)
        if number is not None:
            table[number] = (name, decision)
    return table


def ret(action: str) -> Instruction:
    return (RETURN, 0, 0, ACTIONS[action])


def test_code(test: Test, to_next: int) -> list[Instruction]:
    """Fall through if the test holds, else jump over `to_next` instructions."""
    code = [(LOAD, 0, 0, ARGUMENTS_AT + 8 * test.argument)]
    if test.any_of:
        return [*code, (ANY_BIT, 0, to_next, test.mask)]
    if test.mask != policy.FULL:
        code.append((AND, 0, 0, test.mask))
    return [*code, (EQUAL, 0, to_next, test.value)]


def clause_code(tests: tuple[Test, ...], action: str) -> list[Instruction]:
    code = [ret(action)]
    for test in reversed(tests):
        code = test_code(test, len(code)) + code
    return code


def decision_code(decision: Decision) -> list[Instruction]:
    if isinstance(decision, str):
        return [ret(decision)]
    code = [step for tests, action in decision.clauses for step in clause_code(tests, action)]
    return [*code, ret(decision.otherwise)]


def intervals(table: dict[int, tuple[str, Decision]], otherwise: str = policy.EPERM) -> list[tuple[int, Decision]]:
    """(first number, decision) of each run of numbers with one decision, ascending; the last run is open."""
    runs: list[tuple[int, Decision]] = []
    for number in range(max(table) + 2):
        decision = table[number][1] if number in table else otherwise
        if not runs or runs[-1][1] != decision:
            runs.append((number, decision))
    return runs


def search_code(runs: list[tuple[int, Decision]]) -> list[Instruction]:
    """A binary search for the run that the number (in the accumulator) lies in."""
    if len(runs) == 1:
        return decision_code(runs[0][1])
    middle = len(runs) // 2
    below, above = search_code(runs[:middle]), search_code(runs[middle:])
    # Conditional jumps reach 255 instructions, plain ones any distance.
    return [(AT_LEAST, 0, 1, runs[middle][0]), (JUMP, 0, 0, len(below)), *below, *above]


def program(name: str, build: bool) -> list[Instruction]:
    """All that a bottle, or a build as many users, may ask."""
    return head_code(name) + search_code(intervals(decisions(ARCHITECTURES[name][1], build)))


def first_program(name: str) -> list[Instruction]:
    """What protects a first process, beside a filter that has judged everything else."""
    _, arch = ARCHITECTURES[name]
    table: dict[int, tuple[str, Decision]] = {
        number: (call, decision)
        for call, decision in policy.OF_THE_FIRST.items()
        if (number := resolve(call, arch)) is not None
    }
    return head_code(name) + search_code(intervals(table, policy.ALLOW))


def head_code(name: str) -> list[Instruction]:
    """Foreign calls end the program; the number of ours is in the accumulator."""
    audit, _ = ARCHITECTURES[name]
    head: list[Instruction] = [
        (LOAD, 0, 0, ARCH_AT),
        (EQUAL, 1, 0, audit),
        ret("KILL"),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    if name == "x86_64":
        # x32 shares the architecture's number and is told by this bit. -1 is what a tracer writes to skip a
        # call.
        head += [(EQUAL, 0, 1, 0xFFFFFFFF), ret(policy.ALLOW), (AT_LEAST, 0, 1, X32_BIT), ret("KILL")]
    return head


def dump(name: str, build: bool, code: list[Instruction]) -> str:
    """The policy by call, then the program, one instruction a line."""
    lines = [
        f"# seccomp filter for {'builds on ' if build else ''}{name}, generated by scripts/seccomp_filter.py",
        "# whatever is not listed: EPERM; other ABIs: killed",
    ]
    for number, (call, decision) in sorted(decisions(ARCHITECTURES[name][1], build).items()):
        shown = decision if isinstance(decision, str) else describe(decision)
        lines.append(f"{number:4} {call}: {shown}")
    operations = {
        LOAD: "ld",
        JUMP: "ja",
        EQUAL: "jeq",
        AT_LEAST: "jge",
        ANY_BIT: "jset",
        AND: "and",
        RETURN: "ret",
    }
    lines.append("# program: index operation constant, and where it goes on if true and if false")
    for at, (operation, yes, no, constant) in enumerate(code):
        jumps = f" {at + 1 + yes} {at + 1 + no}" if operation in (EQUAL, AT_LEAST, ANY_BIT) else ""
        lines.append(f"{at:4} {operations[operation]:4} {constant:#x}{jumps}")
    return "\n".join(lines) + "\n"


def describe(decision: Conditional) -> str:
    clauses = []
    for tests, action in decision.clauses:
        words = [f"a{test.argument}&{test.mask:#x}{'' if test.any_of else f'=={test.value:#x}'}" for test in tests]
        clauses.append(f"{action} if {' and '.join(words)}")
    return "; ".join([*clauses, f"else {decision.otherwise}"])


def generate() -> dict[Path, bytes]:
    """Content of everything that is checked in, by its place."""
    files: dict[Path, bytes] = {}
    for name, build in product(ARCHITECTURES, (False, True)):
        code, file = program(name, build), f"seccomp_{'build_' if build else ''}{name}"
        files[BUBBLEWRAP / f"{file}.bpf"] = packed(code)
        files[BUBBLEWRAP / f"{file}.txt"] = dump(name, build, code).encode()
    return files | {DOCKER / f"first_{name}.bpf": packed(first_program(name)) for name in ARCHITECTURES}


def packed(code: list[Instruction]) -> bytes:
    """As the kernel reads it: an array of struct sock_filter."""
    return b"".join(struct.pack("<HBBI", *step) for step in code)


def main() -> None:
    for place, content in generate().items():
        place.write_bytes(content)


if __name__ == "__main__":
    main()
