"""Launch: a bottle is up when the block is entered, and a launch that fails leaves nothing."""

from __future__ import annotations

from dataclasses import replace

from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance.place import Place, ended, eventually, run, shell, start
from claude_bottle.testing.conformance.registry import group

launch = group("launch", harmless=True)


@launch
def a_bottle_is_up_inside_the_block_and_gone_after_it(place: Place) -> None:
    with place.up() as bottle:
        assert bottle.alive()
        assert bottle.name
        assert run(bottle, ["true"]).code == 0
    assert not bottle.alive()


@launch
def its_descriptor_tells_when_it_is_gone(place: Place) -> None:
    import select

    with place.backend.launch(place.plan(), boot=place.boot()) as bottle:
        assert not select.select([bottle.fileno()], [], [], 0)[0]
        bottle.close()
        assert not bottle.alive()
        bottle.release()


@launch
def a_plan_says_what_protects_it_and_its_digest_does_not_change(place: Place) -> None:
    first, second = place.plan(), place.plan()
    assert first.digest == second.digest
    assert first.backend == place.backend.name
    assert first.protections
    assert {protection.state for protection in first.protections} <= {"on", "weaker", "off"}
    assert all(protection.why or protection.state == "on" for protection in first.protections)
    assert all(limit.by for limit in first.limits if limit.enforced)


@launch
def planning_starts_and_leaves_nothing(place: Place) -> None:
    place.plan()
    assert place.identity not in place.backend.leftovers()


@launch
def its_own_check_finds_that_it_can_run(place: Place) -> None:
    place.backend.require()
    found = place.backend.check()
    assert found
    assert all(check.state in ("ok", "weaker") for check in found), found


@launch
def two_bottles_at_once_are_apart(place: Place) -> None:
    other_home, other_work = place.directory / "home2", place.directory / "work2"
    other_home.mkdir(mode=0o700)
    other_work.mkdir(mode=0o700)
    second = replace(place.boot(), identity="conform-second", home=other_home, workspace=other_work)
    with place.up() as one, place.up(second) as other:
        assert shell(one, "echo mine > ~/file").code == 0
        assert shell(other, "cat ~/file").code != 0
        one.close()
        assert other.alive()
        assert run(other, ["true"]).code == 0


@launch
def a_name_can_be_launched_again_once_it_is_gone(place: Place) -> None:
    for _ in range(2):
        with place.up() as bottle:
            assert run(bottle, ["true"]).code == 0


@launch
def a_launch_with_a_mount_that_is_not_there_fails_and_leaves_nothing(place: Place) -> None:
    mount = place.mount("gone", "/opt/gone")
    plan = place.plan(mounts=[mount])
    (place.directory / "gone").rmdir()
    try:
        with place.backend.launch(plan, boot=place.boot()):
            raise AssertionError("it was launched")
    except BottleError as problem:
        assert problem.what
    assert place.identity not in place.backend.leftovers()
    with place.up() as bottle:
        assert bottle.alive()


@launch
def a_gate_that_refuses_stops_the_launch(place: Place) -> None:
    gate = place.gate(answer=b"n")
    try:
        with place.backend.launch(place.plan(), boot=place.boot(gate)):
            raise AssertionError("it was launched")
    except BottleError as problem:
        assert "listeners" in problem.what
    finally:
        gate.close()
    eventually(lambda: place.identity not in place.backend.leftovers())


@launch
def whoever_waits_for_a_program_is_told_when_the_bottle_is_closed(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        bottle.close()
        assert ended(process) >= 128


@launch
def a_plan_alone_can_be_launched(place: Place) -> None:
    with place.backend.launch(place.plan()) as bottle:
        assert run(bottle, ["sh", "-c", "test -w ~ && exit 5"]).code == 5
    assert not bottle.alive()
    assert place.identity not in place.backend.leftovers()
