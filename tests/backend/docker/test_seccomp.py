"""The engine's profile is what the script makes of the policy table, and decides as the table does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend import docker
from claude_bottle.backend.bubblewrap import seccomp_policy as policy

PROFILE = Path(docker.__file__).with_name("seccomp.json")


@pytest.fixture(scope="module")
def script() -> Any:
    place = str(Path(__file__).resolve().parents[3] / "scripts")
    sys.path.insert(0, place)
    try:
        import seccomp_profile
    finally:
        sys.path.remove(place)
    return seccomp_profile


def test_the_checked_in_profile_is_what_the_script_generates(script: Any) -> None:
    assert PROFILE.read_bytes() == script.generate(), "run: python scripts/seccomp_profile.py"


def judge(name: str, arguments: list[int]) -> str:
    """What an engine decides: a rule of this name whose comparisons all hold, else the default."""
    for rule in json.loads(PROFILE.read_text())["syscalls"]:
        if name in rule["names"] and all(arguments[one["index"]] & one["value"] == one["valueTwo"] for one in rule["args"]):
            return {"SCMP_ACT_ALLOW": policy.ALLOW, "SCMP_ACT_ERRNO": policy.ENOSYS}[rule["action"]]
    return policy.EPERM


IN_THE_PROFILE = sorted(policy.CONDITIONAL.keys() - policy.OF_THE_FIRST.keys())


def wanted(name: str, arguments: list[int]) -> str:
    conditional = policy.CONDITIONAL[name]
    for tests, action in conditional.clauses:
        kept = [(arguments[test.argument] & test.mask, test) for test in tests]
        if all(bits != 0 if test.any_of else bits == test.value for bits, test in kept):
            return action
    return conditional.otherwise


INTERESTING = sorted(
    {test.value for name in IN_THE_PROFILE for tests, _ in policy.CONDITIONAL[name].clauses for test in tests}
    | {test.mask for name in IN_THE_PROFILE for tests, _ in policy.CONDITIONAL[name].clauses for test in tests}
)
near = st.sampled_from(INTERESTING).flatmap(lambda value: st.sampled_from([value, value ^ 1, value + 1, value | 1 << 33]))
numbers = st.one_of(near, st.integers(0, (1 << 64) - 1), st.integers(0, 0o20777))


@given(st.sampled_from(IN_THE_PROFILE), st.lists(numbers, min_size=6, max_size=6))
def test_arguments_are_judged_as_the_policy_judges_them(name: str, arguments: list[int]) -> None:
    assert judge(name, arguments) == wanted(name, arguments)


@pytest.mark.parametrize("name", IN_THE_PROFILE)
def test_every_value_of_interest_is_judged_as_the_policy_judges_it(name: str) -> None:
    for value in INTERESTING:
        for shifted in (value, value ^ 1, value | 1 << 32):
            for place in range(4):
                arguments = [0] * 6
                arguments[place] = shifted
                assert judge(name, arguments) == wanted(name, arguments), (name, place, hex(shifted))


def test_plain_calls_are_allowed_refused_or_not_there() -> None:
    plain = [0] * 6
    assert {judge(name, plain) for name in (*policy.ALLOWED, *policy.OF_THE_FIRST)} == {policy.ALLOW}
    assert {judge(name, plain) for name in policy.REFUSED} == {policy.EPERM}
    assert {judge(name, plain) for name in policy.UNREADABLE} == {policy.ENOSYS}
    assert judge("mount", plain) == policy.EPERM
