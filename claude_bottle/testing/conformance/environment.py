"""Environment: exactly what it is given, and the same world in every backend."""

from __future__ import annotations

import os

from claude_bottle.backend.base import BASE_ENV, GID, UID, USER
from claude_bottle.testing.conformance.place import Place, run, shell
from claude_bottle.testing.conformance.registry import group

environment, planned = group("environment", harmless=True, shares=True), group("environment", harmless=True)
# What reads everybody's environment is for sandboxes only.
curious = group("environment")
# What a program sees although nobody gave it: shells set these for themselves.
_OF_SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}


@environment
def it_is_exactly_what_was_given(place: Place) -> None:
    given = {"PATH": BASE_ENV["PATH"], "ONE": "1", "EMPTY": "", "ODD": "a=b c\n$x", "UMLAUT": "ü"}
    with place.up() as bottle:
        said = run(bottle, ["env", "-0"], env=given).out
        assert dict(line.split("=", 1) for line in said.split("\0")[:-1]) == given


@curious
def nothing_of_the_hosts_comes_in(place: Place) -> None:
    os.environ["CONFORMANCE_CANARY"] = "canary"
    try:
        with place.up() as bottle:
            assert "CANARY" not in run(bottle, ["env"]).out
            assert "canary" not in shell(bottle, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").out
    finally:
        del os.environ["CONFORMANCE_CANARY"]


@environment
def a_program_without_any_variable_runs(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["/usr/bin/env"], env={}).out == ""


@environment
def the_user_has_the_same_name_and_number_everywhere(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["id", "-un"]).out == f"{USER}\n"
        assert run(bottle, ["id", "-gn"]).out == f"{USER}\n"
        assert shell(bottle, "cd && pwd").out == BASE_ENV["HOME"] + "\n"


@environment
def for_root_the_user_is_the_usual_number_inside(place: Place) -> None:
    with place.up() as bottle:
        number, group_number = run(bottle, ["id", "-u"]).out, run(bottle, ["id", "-g"]).out
        if os.geteuid() == 0:
            assert (int(number), int(group_number)) == (UID, GID)
        assert int(number) != 0


@environment
def the_host_is_called_bottle(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["uname", "-n"]).out == "bottle\n"
        assert "bottle" in run(bottle, ["cat", "/etc/hosts"]).out


@environment
def files_are_made_with_the_usual_mask(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "umask").out == "0022\n"


@planned
def the_plans_variables_are_there_for_exec(place: Place) -> None:
    with place.up(env={"FROM_MANIFEST": "yes"}) as bottle:
        end, other = os.pipe()
        kept = os.dup(1)
        os.dup2(other, 1)
        try:
            bottle.exec(["sh", "-c", "echo $FROM_MANIFEST"])
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            os.close(other)
        with os.fdopen(end) as said:
            assert said.read() == "yes\n"


@environment
def what_agents_need_is_installed(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "command -v git && command -v python3 && command -v sh").code == 0


@environment
def names_of_the_local_host_resolve(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["getent", "hosts", "localhost"]).code == 0
