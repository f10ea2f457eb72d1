"""What is mounted where is known outside only: the table would name the operator's directories (contract §5)."""

from __future__ import annotations

import pytest

from tests import in_bottle
from tests.backend.keeping import keep
from tests.ordinary_user import Person


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_no_table_of_mounts_names_a_path_of_the_host(person: Person, bwrap: str) -> None:
    source = """
import glob, json, os
found = {}
for pattern in ("mountinfo", "mounts", "mountstats", "task/*/mount*"):
    for path in [f"/proc/{pattern}", *glob.glob(f"/proc/[0-9]*/{pattern}"), *glob.glob(f"/proc/self/{pattern}")]:
        try:
            found[path] = open(path).read()
        except OSError as failure:
            found[path] = failure.errno
print(json.dumps(found))
"""
    found = in_bottle.probe(person, source, bwrap=bwrap)
    read = {path for path, said in found.items() if isinstance(said, str)}
    assert read >= {"/proc/1/mountinfo", "/proc/1/mounts", "/proc/self/mountinfo", "/proc/mounts"}
    assert {found[path] for path in read} == {""}


def test_without_a_table_of_mounts_tools_still_know_sizes_and_paths(person: Person) -> None:
    size = "df --output=target,avail /workspace | grep -c '^/workspace *[0-9]'"
    script = f"pwd; cd /../..; pwd; {size}; readlink /proc/self/exe"
    answer = in_bottle.run(person, ["sh", "-c", script])
    assert answer["out"].splitlines() == ["/workspace", "/", "1", "/usr/bin/readlink"]


def test_an_operators_program_has_none_either_and_both_are_in_one_tree(person: Person) -> None:
    source = """
with launch() as bottle:
    start(bottle, "sh", "-c", "echo here > /tmp/note").wait()
    show([output(bottle, "cat", "/tmp/note"), output(bottle, "cat", "/proc/self/mountinfo")])
"""
    assert keep(person, source) == [[0, "here\n"], [0, ""]]
