"""A bottle that boots again with one more layer, in its keeper: what goes on, what is told, and what a failure leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.base import Way
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.errors import BottleError
from claude_bottle.keeper import main
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.order import PIPES, Order, Pipes
from claude_bottle.keeper.reboot import Rebooter
from claude_bottle.keeper.relay import pump
from claude_bottle.model.capability import Capability
from claude_bottle.state.journal import read
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store
from claude_bottle.values import replace
from claude_bottle.workflow.listing import listing
from tests import granting
from tests.keeper import orders
from tests.keeper.conftest import Kept, Launch
from tests.keeper.test_life import SAY, a_gate, config, gate_pid, outcome, wait_for_conversation
from tests.waiting import ended, eventually

TOOL: dict[str, object] = {"apt": ["brandnew"]}
# One life of an agent: what it can run, what it was started with, then it waits to be asked to end.
LIVES = f"""trap 'exit 0' TERM
echo "life $(brandnew 2>/dev/null || echo bare) note=$NOTE" >> lives; echo shown
{SAY}
while :; do sleep 0.05; done"""


@pytest.fixture(autouse=True)
def layers_of_the_tests(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))


class Noting(orders.Talker):
    """Its agent reads the note as a variable of its shell."""

    def command(self, launch: Any) -> list[str]:
        return ["sh", "-c", f"NOTE='{launch.note}'; {launch.args[1]}"]


def no_outlet(_name: str, _rules: Any) -> Any:
    raise AssertionError("the fake builds without a network")


def ready(root: Path, script: str = LIVES, **options: Any) -> Order:
    made = orders.order(root, "sh", "-c", script, outlet=no_outlet, **options)
    return replace(made, harness=Noting(), launch=replace(made.launch, args=("-c", script)))


def begun(launch: Launch, root: Path, script: str = LIVES, **options: Any) -> Kept:
    kept = launch(order=ready(root, script, **options))
    eventually(lambda: len(lives(kept)) == 1)
    return kept


def lives(kept: Kept) -> list[str]:
    path = kept.order.workspace / "lives"
    return [line for line in path.read_text().splitlines() if line.startswith("life")] if path.exists() else []


def grant(kept: Kept, capability: dict[str, object] = TOOL) -> tuple[str, str]:
    with kept.control() as control:
        return granting.grant(control, capability)


def request(message: dict[str, Any]) -> dict[str, Any]:
    found = message.get("request")
    return found if isinstance(found, dict) else {}


def record(kept: Kept) -> BottleRecord:
    return Store(kept.order.paths).load(kept.identity)


def events(kept: Kept) -> list[dict[str, Any]]:
    return [line.event for line in read(kept.order.paths.journal(kept.identity)) if line.event]


def states(kept: Kept) -> list[str]:
    return [str(event["data"]["state"]) for event in events(kept) if event["kind"] == "layer"]


def kinds(kept: Kept) -> list[str]:
    return [str(event["kind"]) for event in events(kept)]


def test_the_agent_comes_back_with_the_tool_and_the_note_in_the_same_keeper(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    keeper, agent = kept.up.keeper, kept.agent()
    assert grant(kept) == ("applied", "in force")
    eventually(lambda: len(lives(kept)) == 2)
    assert lives(kept)[0] == "life bare note="
    assert lives(kept)[1].startswith("life brandnew note=The operator granted q-")
    with kept.control() as control:
        status = control.status()
    assert status["keeper"] == keeper
    assert status["agent"] != agent
    assert status["busy"] == ""


def test_it_is_in_plan_and_record_and_is_no_reason_to_preserve_what_ends_well(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    grant(kept)
    assert record(kept).layers == (Capability.from_dict(TOOL),)
    assert record(kept).preserved == ()
    plan = json.loads(kept.order.paths.plan(kept.identity).read_text())
    assert plan["layers"][0]["apt"] == ["brandnew"]
    assert plan["digest"] == record(kept).plan_digest
    eventually(lambda: len(lives(kept)) == 2)
    kept.birth.send({"op": "stop", "grace": 60, "keep": False})
    assert outcome(kept) == (0, [])


def test_the_journal_tells_all_of_it_in_order(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    grant(kept)
    found = kinds(kept)
    at = [found.index(kind) for kind in ("layer", "rebooting", "agent_exited", "bottle_down", "archived")]
    assert at == sorted(at)
    assert found.count("launched") == found.count("agent_started") == 2
    assert states(kept) == ["building", "built", "added"]
    (asked,) = [event["data"]["id"] for event in events(kept) if event["kind"] == "asked"]
    assert {event["data"]["request"] for event in events(kept) if event["kind"] == "layer"} == {asked}


def test_an_attached_terminal_stays_and_sees_what_follows(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    with kept.control() as attached:
        attached.send({"op": "attach", "rows": 33, "cols": 99})
        grant(kept)
        seen = b""
        while seen.count(b"shown") < 2:
            received = attached.receive()
            assert received is not None
            seen += b"".join(payload for kind, payload in received if kind == b"1")
        assert b"booting again with apt brandnew; the session goes on in a moment" in seen
        attached.send_frame(b"0\0\0\0\1\x03")  # Ctrl-C reaches the one that follows
        assert kept.birth.wait().code == 130


def test_a_build_that_fails_is_told_and_changes_nothing(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    agent, before = kept.agent(), record(kept)
    assert grant(kept, {"apt": ["missing"]}) == ("failed", "the layer could not be built\nno package is called missing")
    assert kept.agent() == agent
    assert record(kept) == before
    assert "rebooting" not in kinds(kept)
    assert grant(kept)[0] == "applied"


def test_what_it_has_already_is_applied_without_another_boot(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    grant(kept)
    assert grant(kept)[0] == "applied"
    assert kinds(kept).count("rebooting") == 1
    assert record(kept).layers == (Capability.from_dict(TOOL),)


def test_what_is_no_capability_costs_its_sender_the_connection_only(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    with pytest.raises(BottleError, match="cannot be asked for"):
        grant(kept, {"apt": ["--option"]})
    assert grant(kept)[0] == "applied"


def test_two_at_a_time_come_up_in_one_boot(launch: Launch, root: Path) -> None:
    """The second is asked for while the first is being built: the builder waits for it."""
    os.mkfifo(held := root.parent / "held")
    kept = begun(launch, root, backend=Held(held))
    with kept.control() as one, kept.control() as other:
        one.send(granting.begin(one, TOOL))
        eventually(lambda: "layer" in kinds(kept))
        other.send(granting.begin(other, {"pip": ["other"]}))
        other.send({"op": "status"})
        while (other.next_message() or {}).get("op") != "status":
            pass
        with held.open("w"):
            eventually(lambda: states(kept).count("built") == 2)
        eventually(lambda: len(lives(kept)) == 2)
    assert kinds(kept).count("rebooting") == 1
    assert [layer.kind for layer in record(kept).layers] == ["apt", "pip"]
    notes = (kept.order.workspace / "lives").read_text().split("note=")[-1].split("\n\n")
    assert ["apt brandnew" in notes[0], "pip other" in notes[1]] == [True, True]


def test_an_attached_terminals_title_says_what_is_built(launch: Launch, root: Path) -> None:
    os.mkfifo(held := root.parent / "held")
    kept = begun(launch, root, backend=Held(held))
    with kept.control() as attached, kept.control() as other:
        attached.send({"op": "attach", "rows": 30, "cols": 90})
        other.send(granting.begin(other, TOOL))
        title = f"{kept.identity} is building apt brandnew"
        while not title_of(attached).endswith(f"{title}: waiting for the test"):
            pass
        (row,) = listing(everything=False, paths=kept.order.paths)
        assert row["waiting"] == "building apt brandnew"
        with held.open("w"):
            while title_of(attached) != "":
                pass


def title_of(attached: Control) -> str:
    """The next that it is told."""
    while (message := attached.next_message()) is not None:
        if message.get("op") == "waiting":
            return str(message["title"])
    raise AssertionError("the keeper is gone")


def test_what_a_build_may_not_reach_is_in_the_journal(launch: Launch, root: Path) -> None:
    """Whatever comes of the build."""
    made = replace(ready(root, backend=Reaching()), outlet=refusing)
    kept = launch(order=made)
    eventually(lambda: len(lives(kept)) == 1)
    assert grant(kept)[0] == "failed"
    found = [event["data"] for event in events(kept) if event["kind"] == "layer" and event["data"]["state"] == "refused"]
    assert [(one["why"], one["capability"]) for one in found] == [("the build wanted x\\x1b.test", TOOL)]


class Reaching(FakeBackend):
    def build_layer(self, _plan: Any, _capability: Any, _progress: Any, outlet: Any) -> Any:
        with outlet("build-000000", ()):
            raise BottleError("the layer could not be built")


@contextmanager
def refusing(_name: str, _rules: Any) -> Iterator[Way]:
    with socket.socket() as nowhere:
        yield Way(nowhere, "", bytes, lambda: ("the build wanted x\x1b.test",))


class Held(FakeBackend):
    """Each build waits until somebody has opened the pipe."""

    def __init__(self, pipe: Path) -> None:
        super().__init__()
        self._pipe = pipe

    def build_layer(self, *args: Any) -> Any:
        args[2]("waiting for the test")
        self._pipe.open().close()
        return super().build_layer(*args)


class Unbootable(FakeBackend):
    """Boots once: a bottle with layers does not come up."""

    def _launch(self, plan: Any, boot: Any) -> Any:
        if plan.layers:
            raise BottleError("the layers cannot be mounted", why="the test says so")
        return super()._launch(plan, boot)


def test_a_bottle_that_does_not_come_up_again_is_preserved_with_the_layer(launch: Launch, root: Path) -> None:
    kept = begun(launch, root, backend=Unbootable())
    wait_for_conversation(kept)
    assert grant(kept)[0] == "applied"  # it is recorded, and there at the resume
    waited = kept.birth.wait()
    settled = kept.birth.settled()
    assert settled is not None
    assert waited.code == 0
    assert settled["preserved"] == ["capability", "did not come up again: the layers cannot be mounted: the test says so"]
    assert kept.gone()
    assert record(kept).status == "preserved"
    assert record(kept).layers == (Capability.from_dict(TOOL),)
    assert "hello" in (kept.order.paths.home(kept.identity) / orders.CONVERSATION).read_text()
    assert kinds(kept)[-1] == "preserved"


def test_a_keeper_killed_between_two_lives_leaves_the_layer_for_resume(launch: Launch, root: Path) -> None:
    os.mkfifo(held := root.parent / "held")
    kept = begun(launch, root, backend=HeldBoot(held))
    with kept.control() as control:
        control.send(granting.begin(control, TOOL))
        eventually(lambda: "bottle_down" in kinds(kept))
        os.kill(kept.up.keeper, signal.SIGKILL)
    assert kept.gone()
    settled = settle_interrupted(kept.order.paths, kept.identity)
    assert settled.layers == (Capability.from_dict(TOOL),)
    assert settled.preserved == ("capability", "interrupted")


class HeldBoot(FakeBackend):
    """A second boot waits until somebody opens the pipe."""

    def __init__(self, pipe: Path) -> None:
        super().__init__()
        self._pipe = pipe

    def _launch(self, plan: Any, boot: Any) -> Any:
        if plan.layers:
            self._pipe.open().close()
        return super()._launch(plan, boot)


def test_a_keeper_killed_while_it_builds_has_applied_nothing(launch: Launch, root: Path) -> None:
    os.mkfifo(held := root.parent / "held")
    kept = begun(launch, root, backend=Held(held))
    with kept.control() as control:
        control.send(granting.begin(control, TOOL))
        eventually(lambda: "layer" in kinds(kept))
        os.kill(kept.up.keeper, signal.SIGKILL)
    assert kept.gone()
    assert settle_interrupted(kept.order.paths, kept.identity).layers == ()


def test_an_agent_that_ends_while_its_tool_is_built_is_settled_as_ever(launch: Launch, root: Path) -> None:
    os.mkfifo(held := root.parent / "held")
    kept = begun(launch, root, backend=Held(held))
    with kept.control() as control:
        control.send(granting.begin(control, TOOL))
        eventually(lambda: "layer" in kinds(kept))
        os.kill(kept.agent(), signal.SIGTERM)
        while (message := control.next_message()) is not None and request(message).get("state") != "failed":
            pass
        assert message is not None
        assert request(message)["outcome"] == "the session has ended"
    assert outcome(kept) == (0, [])


class Amending(Rebooter):
    """As whoever grants live: what it granted is put into every order that follows."""

    def __init__(self, keeper: Any) -> None:
        super().__init__(keeper)
        self.amend.append(lambda order: replace(order, env={**order.env, "PS1": "granted"}))


def test_what_was_granted_live_is_in_the_next_life_too(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(main, "Rebooter", Amending)
    kept = begun(launch, root, LIVES.replace("note=$NOTE", "note=$NOTE $PS1"))
    grant(kept)
    eventually(lambda: len(lives(kept)) == 2)
    assert lives(kept)[0].endswith("note= $ ")
    assert (kept.order.workspace / "lives").read_text().splitlines()[-1].endswith(" granted")


def test_an_exec_beside_the_agent_ends_with_the_bottle(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    with kept.control() as beside:
        beside.send({"op": "exec", "argv": ["sleep", "1000"], "tty": False})
        while (beside.next_message() or {}).get("op") != "started":
            pass
        grant(kept)
        while (message := beside.next_message()) is not None and message.get("op") != "exited":
            pass
        assert message is not None
        assert message["code"] == 128 + signal.SIGKILL


def test_a_run_goes_on_writing_where_it_wrote(launch: Launch, root: Path) -> None:
    pipes = Pipes.make()
    script = 'n=$(cat n 2>/dev/null); echo x$n > n; if [ "$n" ]; then echo second; exit 4; fi; ' + SAY + \
        "trap 'exit 0' TERM; echo first; touch said; while :; do sleep 0.05; done"  # fmt: skip
    kept = launch(order=ready(root, script, io=PIPES, pipes=pipes))
    eventually((kept.order.workspace / "said").exists)
    eventually(lambda: record(kept).status == "running")
    assert grant(kept)[0] == "applied"
    out, null = os.memfd_create("out"), os.open("/dev/null", os.O_RDONLY)
    waited = pump(kept.birth, pipes, (null, out, out))
    os.close(null)
    assert waited.code == 4
    assert os.pread(out, 100, 0) == b"first\nsecond\n"


def test_each_life_has_a_gate_of_its_own_and_every_one_is_in_the_journal(launch: Launch, root: Path) -> None:
    kept = begun(launch, root, gate=config(), serve=a_gate)
    first = gate_pid(kept)
    assert grant(kept)[0] == "applied"
    assert gate_pid(kept) != first
    assert ended(first)
    with kept.control() as control:
        assert control.status()["gate"] == "up"
    assert [event["data"] for event in events(kept) if event["kind"] == "dns"].count({"name": "early"}) >= 1


def test_a_gate_that_had_died_is_there_again_after_a_reboot(launch: Launch, root: Path) -> None:
    kept = begun(launch, root, gate=config(), serve=a_gate)
    os.kill(gate_pid(kept), signal.SIGKILL)
    with kept.control() as control:
        eventually(lambda: control.status()["gate"] == "down")
        assert grant(kept)[0] == "applied"
        assert control.status()["gate"] == "up"
