"""The checked-in filters are what the script makes of the policy, and the policy says what it must."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.bubblewrap import seccomp, seccomp_policy

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KILL, ALLOW, EPERM, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@pytest.fixture(scope="module")
def script() -> Any:
    pytest.importorskip("pyseccomp", reason="cannot run here: libseccomp is missing", exc_type=ImportError)
    sys.path.insert(0, str(SCRIPTS))
    try:
        import seccomp_filter
    except RuntimeError as missing:
        pytest.skip(f"cannot run here: {missing}")
    finally:
        sys.path.remove(str(SCRIPTS))
    return seccomp_filter


def test_the_checked_in_files_are_what_the_script_generates(script: Any) -> None:
    for place, content in script.generate().items():
        assert place.read_bytes() == content, f"run: python scripts/seccomp_filter.py ({place.name})"


BOTTLES = Path(seccomp_policy.__file__).with_name("seccomp_{}.bpf")
FIRST = Path(seccomp_policy.__file__).parents[1] / "docker" / "first_{}.bpf"


def judge(
    architecture: str, number: int, arguments: tuple[int, ...] = (), audit: int | None = None, filters: Path = BOTTLES
) -> int:
    """Run a checked-in filter as the kernel would: the action for one call."""
    program = Path(str(filters).format(architecture)).read_bytes()
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, AUDIT[architecture] if audit is None else audit, 0, *words)
    at = accumulator = 0
    while True:
        operation, yes, no, constant = steps[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, constant)[0]
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            at += constant
        elif operation == 0x06:
            return int(constant)
        else:
            test = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: accumulator & constant}
            at += yes if test[operation] else no


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_call_gets_the_decision_that_the_policy_names(script: Any, architecture: str) -> None:
    arch = script.ARCHITECTURES[architecture][1]
    actions = {"allow": ALLOW, "EPERM": EPERM, "ENOSYS": ENOSYS}
    table = script.decisions(arch)
    for number in range(700):
        decision = table.get(number, ("", "EPERM"))[1]
        if isinstance(decision, str):
            assert judge(architecture, number) == actions[decision], number


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_foreign_tables_are_killed(architecture: str) -> None:
    foreign = [0x40000003, 0x40000028, 0x80000016, 0, *(set(AUDIT.values()) - {AUDIT[architecture]})]
    assert {judge(architecture, 0, audit=audit) for audit in foreign} == {KILL}
    if architecture == "x86_64":
        assert {judge(architecture, 0x40000000 + number) for number in (0, 39, 512, 547)} == {KILL}


def test_high_bits_of_an_argument_change_nothing() -> None:
    high = 1 << 32
    assert judge("x86_64", 16, (0, 0x5412)) == judge("x86_64", 16, (0, 0x5412 | high)) == EPERM
    assert judge("x86_64", 16, (0, 0x40045412)) == EPERM  # whatever direction and size it claims
    assert judge("x86_64", 16, (0, 0x802C542A)) == ALLOW  # TCGETS2
    assert judge("x86_64", 16, (0, 0x5423)) == judge("x86_64", 16, (0, 0x5423 | high)) == EPERM
    assert judge("x86_64", 16, (0, 0x5413)) == ALLOW
    assert judge("x86_64", 56, (0x10000000 | high,)) == EPERM
    assert judge("x86_64", 41, (2 | high, 1, 0)) == judge("x86_64", 41, (2, 1, 0)) == ALLOW
    assert judge("x86_64", 41, (40 | high, 1, 0)) == EPERM


def test_the_mode_counts_only_when_a_file_is_created() -> None:
    path, setuid = 0, 0o6755
    assert judge("x86_64", 2, (path, 0, setuid)) == ALLOW
    assert judge("x86_64", 2, (path, 0o100, setuid)) == EPERM
    assert judge("x86_64", 257, (0, path, 0o20200000, 0o4000)) == EPERM
    assert judge("x86_64", 257, (0, path, 0o101, 0o644)) == ALLOW


def test_the_first_process_keeps_its_priority() -> None:
    """It has the agent's user: at idle priority it could be starved, and would neither answer nor end."""
    for setscheduler, setattr_, setpriority, architecture in ((144, 314, 141, "x86_64"), (119, 274, 140, "aarch64")):
        for number in (setscheduler, setattr_):
            assert judge(architecture, number, (1,)) == judge(architecture, number, (1 | 1 << 32,)) == EPERM
            assert {judge(architecture, number, (pid,)) for pid in (0, 2, 3, 1000)} == {ALLOW}
        assert {judge(architecture, setpriority, (which, 1, 19)) for which in range(4)} == {EPERM}
        assert {judge(architecture, setpriority, (2, who, 19)) for who in (0, 1000)} == {EPERM}
        assert {judge(architecture, setpriority, (which, who, 19)) for which in (0, 1) for who in (0, 2, 99)} == {ALLOW}


@pytest.mark.parametrize("architecture", AUDIT)
def test_what_a_containers_first_process_adds_judges_only_what_concerns_it(architecture: str) -> None:
    """The same as the whole filter of what is about a first process; everything else is the engine's filter's business."""
    concerned = {"x86_64": (141, 144, 314), "aarch64": (140, 119, 274)}[architecture]
    words = (0, 1, 2, 3, 1000, 1 | 1 << 32, 1 << 31)
    for number in concerned:
        for arguments in ((first, second) for first in words for second in words):
            assert judge(architecture, number, arguments, filters=FIRST) == judge(architecture, number, arguments)
    for number in {*range(512)} - {*concerned}:
        assert judge(architecture, number, (1, 1), filters=FIRST) == ALLOW
    assert judge(architecture, 0, audit=0x40000003, filters=FIRST) == KILL


def test_no_call_is_named_twice() -> None:
    groups = [seccomp_policy.ALLOWED, seccomp_policy.REFUSED, seccomp_policy.UNREADABLE, seccomp_policy.CONDITIONAL]
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))


def test_this_machines_filter_is_a_whole_number_of_instructions() -> None:
    program = seccomp.filter_program()
    assert program
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096
