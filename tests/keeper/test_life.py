"""From launch to settlement, with real processes: the preservation table and every way to be killed."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from claude_bottle import proc
from claude_bottle.backend.base import Begun
from claude_bottle.backend.disk_usage import Usage
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.backend.fake.bottle import FakeBottle
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper import audit, gate_link
from claude_bottle.keeper.client import ENDED, LOST, Control
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.order import PIPES, Pipes
from claude_bottle.keeper.reasons import reason_of
from claude_bottle.keeper.spawn import start
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.plan import KEEPER, Limit
from claude_bottle.state import record as records
from claude_bottle.state.journal import read, verify
from claude_bottle.state.lock import IdentityLock, LockHeld, held_here
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from tests.keeper import orders
from tests.keeper.conftest import Kept, Launch
from tests.waiting import SECONDS, ended, eventually

# For an agent to end when asked: so long that it is never hung up on (a quarter of it) because the machine is busy.
GRACE = 4 * SECONDS
TALK = f"$HOME/{orders.CONVERSATION}"
SAY = f'mkdir -p "{os.path.dirname(TALK)}"; echo \'{{"said": "hello"}}\' >> "{TALK}"; '


def outcome(kept: Kept) -> tuple[int, list[str]]:
    """Exit code and reasons once settled."""
    waited = kept.birth.wait()
    settled = kept.birth.settled()
    assert waited.how == ENDED
    assert settled is not None
    assert settled["code"] == waited.code
    assert kept.gone()
    reasons = settled["preserved"]
    assert isinstance(reasons, list)
    return waited.code or 0, reasons


def outcome_told(kept: Kept) -> object:
    """The reasons, without waiting for the keeper's end."""
    settled = kept.birth.settled()
    assert settled is not None
    return settled["preserved"]


def archived(kept: Kept) -> str:
    return "".join(path.read_text() for path in kept.order.paths.transcripts_of(kept.identity).rglob("*.jsonl"))


def kinds(kept: Kept) -> list[str]:
    return [str(line.event["kind"]) for line in read(kept.order.paths.journal(kept.identity)) if line.event]


def test_exit_0_archives_the_conversation_and_removes_the_state(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY)
    assert outcome(kept) == (0, [])
    assert "hello" in archived(kept)
    assert not kept.order.paths.state(kept.identity).exists()
    assert not kept.order.paths.socket(kept.identity).exists()


def test_another_exit_code_preserves_and_says_why(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + "exit 3")
    assert outcome(kept) == (3, ["exit 3"])
    assert "hello" in archived(kept)
    record = Store(kept.order.paths).load(kept.identity)
    assert (record.status, record.preserved, record.exit_code) == ("preserved", ("exit 3",), 3)
    assert record.ended
    assert record.session_id == "s1"
    assert kinds(kept) == [
        "created", "plan", "launched", "agent_started", "agent_exited", "snapshot", "bottle_down", "archived", "preserved",
    ]  # fmt: skip


def test_a_killed_agent_is_preserved(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + "kill -9 $$")
    assert outcome(kept) == (137, ["killed (SIGKILL)"])


def test_reasons_name_what_happened() -> None:
    assert reason_of(0, True) is None
    assert reason_of(130, False) == "exit 130 (Ctrl-C)"
    assert reason_of(143, True) == "stopped (killed (SIGTERM))"
    assert reason_of(255, False) == "exit 255"


def test_stop_asks_first_and_loses_nothing(launch: Launch) -> None:
    kept = launch("sh", "-c", "trap 'exit 0' TERM; " + SAY + "while :; do read line; done")
    wait_for_conversation(kept)
    with kept.control() as control:
        assert control.stop(GRACE, keep=False).code == 0
    assert outcome(kept) == (0, [])
    assert "hello" in archived(kept)


def test_stop_of_an_agent_that_ends_with_another_code_preserves(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    with kept.control() as control:
        assert control.stop(GRACE, keep=False).code == 143
    assert outcome(kept) == (143, ["stopped (killed (SIGTERM))"])


def ignores(kept: Kept, number: signal.Signals) -> None:
    """Wait until the agent has begun to ignore this signal (SigIgn, proc_pid_status(5))."""
    status = Path(f"/proc/{kept.agent()}/status")

    def ignored() -> bool:
        mask = next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigIgn"))
        return bool(mask >> (number - 1) & 1)

    eventually(ignored)


def test_stop_hangs_up_on_what_ignores_sigterm_and_kills_what_ignores_that(launch: Launch) -> None:
    kept = launch("sh", "-c", "trap '' TERM; while :; do sleep 0.2; done")
    with kept.control() as control:
        ignores(kept, signal.SIGTERM)
        assert control.stop(0.4, keep=False).code in (129, 137)
    kept = launch("sh", "-c", "trap '' TERM HUP; while :; do sleep 0.2; done")
    with kept.control() as control:
        ignores(kept, signal.SIGHUP)
        assert control.stop(0.2, keep=False).code == 137


def test_stop_with_keep_preserves_even_a_clean_exit(launch: Launch) -> None:
    kept = launch("cat")
    with kept.control() as control:
        control.stop(GRACE, keep=True)
        settled = control.settled()
    assert settled is not None
    assert "operator" in settled["preserved"]  # type: ignore[operator]
    assert Store(kept.order.paths).load(kept.identity).status == "preserved"


class SpokenBottle(FakeBottle):
    """Its keeper goes on once the agent has said what it has to say."""

    def spawn(self, argv: Sequence[str], **options: Any) -> Any:
        process = super().spawn(argv, **options)
        spoken = self.boot.home / orders.CONVERSATION
        eventually(lambda: spoken.exists() and spoken.stat().st_size)
        return process


class SpokenBackend(FakeBackend):
    bottle = SpokenBottle


def test_a_bottle_whose_time_is_up_is_stopped_and_kept(launch: Launch) -> None:
    wall, said = Limit("wall", "1s", True, KEEPER), SAY + "while :; do read line; done"
    kept = launch("sh", "-c", said, backend=SpokenBackend(), limits=(wall,))
    assert outcome(kept) == (143, ["its time was up (wall 1s)", "stopped (killed (SIGTERM))"])
    assert "hello" in archived(kept)
    assert "stop_requested" in kinds(kept)


def test_a_bottle_whose_disk_is_full_is_stopped_and_kept(launch: Launch) -> None:
    fill = "head -c 30000000 /dev/zero > ~/big; while :; do read line; done"
    kept = launch("sh", "-c", fill, limits=(Limit("disk", "16m", True, KEEPER),))
    assert outcome(kept) == (143, ["its disk was full (disk 16m)", "stopped (killed (SIGTERM))"])


class Unseen(Usage):
    def held(self) -> int:
        raise BottleError("nobody can tell", why="who looks has gone")


class UnseenBottle(FakeBottle):
    def disk_usage(self, places: Sequence[Path], most: int) -> Usage:
        return Unseen([], most)


class UnseenBackend(FakeBackend):
    bottle = UnseenBottle


def test_a_bottle_whose_disk_nobody_can_look_at_is_stopped_and_kept(launch: Launch) -> None:
    kept = launch("sleep", "1000", backend=UnseenBackend(), limits=(Limit("disk", "16m", True, KEEPER),))
    assert outcome(kept) == (143, ["its disk could not be looked at (disk 16m)", "stopped (killed (SIGTERM))"])
    events = [line.event for line in read(kept.order.paths.journal(kept.identity)) if line.event]
    (fault,) = [event["data"] for event in events if event["kind"] == "fault"]
    assert (fault["what"], fault["why"]) == ("nobody can tell", "who looks has gone")


def test_an_order_to_keep_preserves_a_clean_exit(launch: Launch) -> None:
    assert outcome(launch("true", keep=True)) == (0, ["operator"])


def test_sigterm_stops_the_bottle_in_order(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    os.kill(kept.up.keeper, signal.SIGTERM)
    assert outcome(kept)[0] == 143


@pytest.mark.parametrize("sig", [signal.SIGHUP, signal.SIGINT, signal.SIGTTOU])
def test_a_terminal_that_goes_away_does_not_end_the_keeper(launch: Launch, sig: signal.Signals) -> None:
    kept = launch("sleep", "1000")
    os.kill(kept.up.keeper, sig)
    with kept.control() as control:
        assert control.status()["keeper"] == kept.up.keeper


def test_a_killed_keeper_takes_the_agent_with_it_and_is_settled_later(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + "exec sleep 1000")
    agent = kept.agent()
    wait_for_conversation(kept)
    os.kill(kept.up.keeper, signal.SIGKILL)
    assert ended(agent)
    assert kept.birth.wait().how == LOST
    assert kept.gone()
    paths = kept.order.paths
    assert records.effective_status(Store(paths).load(kept.identity)) == "interrupted"
    record = settle_interrupted(paths, kept.identity)
    assert (record.status, record.preserved) == ("preserved", ("interrupted",))
    assert "hello" in archived(kept)
    assert not paths.socket(kept.identity).exists()
    assert settle_interrupted(paths, kept.identity) == record


def test_a_running_bottle_is_not_settled_as_interrupted(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    assert settle_interrupted(kept.order.paths, kept.identity).status == "running"


def test_the_keeper_holds_the_lock_until_everything_is_settled(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    assert held_here(kept.order.paths, kept.identity) is None
    with pytest.raises(LockHeld, match="in use"):
        IdentityLock(kept.order.paths, kept.identity).acquire()
    with kept.control() as control:
        control.stop(GRACE, keep=True)
        control.settled()
    IdentityLock(kept.order.paths, kept.identity).acquire(wait=False).release()


def test_a_client_that_lingers_does_not_keep_the_lock(launch: Launch) -> None:
    kept = launch("sh", "-c", "read go; head -c 400000 /dev/zero | tr '\\0' x; exit 5")
    with kept.control() as slow:
        slow.send({"op": "attach"})
        slow.send_frame(b"0\0\0\0\1\r")
        assert outcome_told(kept) == ["exit 5"]
        IdentityLock(kept.order.paths, kept.identity).acquire(wait=False).release()
        assert not kept.gone(0)


def test_what_is_said_while_the_bottle_goes_down_is_archived_too(launch: Launch) -> None:
    class Last(FakeBottle):
        def close(self) -> None:
            super().close()
            (self.boot.home / orders.CONVERSATION).write_text('{"said": "hello"}\n{"said": "last"}\n')

    class Late(FakeBackend):
        bottle = Last

    kept = launch("sh", "-c", SAY + "exit 3", backend=Late())
    assert outcome(kept) == (3, ["exit 3"])
    assert "last" in archived(kept)


def test_a_settled_bottle_can_be_resumed_at_once(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + "exit 3")
    outcome(kept)
    paths = kept.order.paths
    IdentityLock(paths, kept.identity).acquire()
    former = Store(paths).load(kept.identity)
    again = launch(order=orders.for_record(paths, former, "true", former=former))
    assert outcome(again) == (0, [])
    assert not paths.state(kept.identity).exists()


def test_a_failed_first_launch_leaves_nothing(root: Path) -> None:
    order = orders.order(root, "true", backend=FakeBackend(fails=EnvironmentLacks("no bwrap", do="install it")))
    with pytest.raises(EnvironmentLacks, match="no bwrap") as failed:
        start(order)
    assert failed.value.do == "install it"
    assert Store(order.paths).identities() == []
    assert not order.paths.socket(order.identity).exists()


def test_an_unexpected_error_is_told_without_the_credentials(root: Path) -> None:
    spec = CredentialSpec("api", "env", "API_KEY", "API_KEY", "x-api-key")
    bound = BoundCredential(spec, "bottle-placeholder-0000000000", Secret("sk-very-real"), (("api.test", 443),))
    failing = FakeBackend(fails=ValueError("quoting sk-very-real"))
    gate = GateConfig("tester-000000", (), (bound,))
    order = orders.order(root, "true", backend=failing, gate=gate, serve=a_gate)
    with pytest.raises(BottleError, match="could not be started") as failed:
        start(order)
    assert failed.value.why == "ValueError: quoting [redacted]"
    assert "quoting [redacted]" in Path(failed.value.more).read_text()
    assert "sk-very-real" not in Path(failed.value.more).read_text()


def test_a_failed_resume_brings_the_former_record_back(launch: Launch) -> None:
    kept = launch("sh", "-c", "exit 3")
    outcome(kept)
    paths = kept.order.paths
    former = Store(paths).load(kept.identity)
    with IdentityLock(paths, kept.identity):
        failing = FakeBackend(fails=BottleError("no"))
        with pytest.raises(BottleError, match="no"):
            start(orders.for_record(paths, former, "true", former=former, backend=failing))
    found = Store(paths).load(kept.identity)
    assert found._replace(journal=None) == former._replace(journal=None)
    assert verify(paths.journal(kept.identity), found.journal) == []


def test_what_is_told_to_have_failed_may_be_tried_again_at_once(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = launch("sh", "-c", "exit 3")
    outcome(kept)
    paths, go, real = kept.order.paths, tmp_path / "go", os._exit

    def lingering(code: int) -> None:
        """A keeper that is given no time to end."""
        if os.getpid() != os.getsid(0):  # it, and not the one between it and us
            eventually(go.exists)
        real(code)

    former = Store(paths).load(kept.identity)
    lock = IdentityLock(paths, kept.identity).acquire()
    monkeypatch.setattr(os, "_exit", lingering)
    try:
        with pytest.raises(BottleError, match="no"):
            start(orders.for_record(paths, former, "true", former=former, backend=FakeBackend(fails=BottleError("no"))))
        lock.release()
        with IdentityLock(paths, kept.identity).acquire(wait=False):
            pass
    finally:
        go.touch()


def test_an_unexpected_error_of_the_boot_is_reported_with_a_report(root: Path) -> None:
    order = orders.order(root, "true", io=PIPES)  # without pipes
    with pytest.raises(BottleError, match="needs a terminal or pipes"):
        start(order)
    assert Store(order.paths).identities() == []


def test_a_launch_nobody_waits_for_any_more_is_undone(root: Path) -> None:
    """The CLI dies while its keeper boots: as soon as the keeper wants to report, it takes everything back."""
    here, go = f"{root}-here", f"{root}-go"

    class Slow(FakeBackend):
        def launch(self, plan: Any, *, boot: Any) -> Any:
            with open(here, "w"), open(go):
                return super().launch(plan, boot=boot)

    order = orders.order(root, "sleep", "1000", backend=Slow())
    os.mkfifo(here)
    os.mkfifo(go)
    cli = os.fork()
    if cli == 0:
        try:
            start(order)
        finally:
            os._exit(0)
    with open(here):  # the keeper is at it
        os.kill(cli, signal.SIGKILL)
        os.waitpid(cli, 0)
    os.close(os.open(go, os.O_WRONLY))
    held = held_here(order.paths, order.identity)
    assert held is not None
    held.release()
    eventually(lambda: not os.listdir(order.paths.states))


def wait_for_conversation(kept: Kept) -> None:
    path = kept.order.paths.home(kept.identity) / orders.CONVERSATION
    eventually(lambda: path.exists() and path.stat().st_size)


# Pipes: `run`


def pipes_of(kept: Kept) -> Pipes:
    assert kept.order.pipes is not None
    return kept.order.pipes


def test_a_run_passes_streams_and_exit_code(launch: Launch, tmp_path: Path) -> None:
    from claude_bottle.keeper.relay import pump

    source = os.open(tmp_path / "in", os.O_RDWR | os.O_CREAT)
    os.write(source, b"x" * 300_000)
    os.lseek(source, 0, os.SEEK_SET)
    out, err = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT), os.open(tmp_path / "err", os.O_RDWR | os.O_CREAT)
    kept = launch("sh", "-c", "cat; echo problem >&2; exit 7", io=PIPES, pipes=Pipes.make())
    assert pump(kept.birth, pipes_of(kept), (source, out, err)).code == 7
    assert os.pread(out, 400_000, 0) == b"x" * 300_000
    assert os.pread(err, 100, 0) == b"problem\n"
    settled = kept.birth.settled()
    assert settled is not None
    assert settled["preserved"] == ["exit 7"]
    for fd in (source, out, err):
        os.close(fd)


def test_a_run_whose_reader_goes_away_ends_as_it_would_outside(launch: Launch) -> None:
    from claude_bottle.keeper.relay import pump

    reader, writer = os.pipe()
    os.close(reader)
    null = os.open("/dev/null", os.O_RDWR)
    kept = launch("yes", io=PIPES, pipes=Pipes.make())
    assert pump(kept.birth, pipes_of(kept), (null, writer, null)).code == 141
    os.close(writer)
    os.close(null)


def test_an_agent_of_run_outlives_its_cli_and_neither_blocks_nor_dies(launch: Launch) -> None:
    kept = launch("sh", "-c", "read never; head -c 5000000 /dev/zero; " + SAY + "exit 5", io=PIPES, pipes=Pipes.make())
    with kept.control() as other:
        other.send({"op": "wait"})
        kept.birth.close()
        pipes_of(kept).close_operator()
        assert other.wait().code == 5
        assert other.settled()
    assert "hello" in archived(kept)


def test_there_is_no_attaching_to_a_run(launch: Launch) -> None:
    kept = launch("sleep", "1000", io=PIPES, pipes=Pipes.make())
    with kept.control() as control:
        control.send({"op": "attach", "rows": 24, "cols": 80})
        with pytest.raises(BottleError, match="no terminal"):
            control.settled()


# The gate, with a double that only holds its line


def a_gate(control: Any, registration: Any, config: GateConfig) -> None:
    """Says what a gate says, dies when told to, and answers `halt` with an event."""
    proc.set_title("claude_bottle.gate tester-000000")
    control.sendall(
        b'{"op":"ca","pem":"-----BEGIN CERTIFICATE-----"}\n'
        b'{"op":"event","event":{"kind":"dns","data":{"name":"early"}}}\n{"op":"listening"}\n'
    )
    while line := control.recv(4096):
        for message in line.splitlines():
            event = {"kind": "note", "data": {"heard": json.loads(message)["op"]}}
            control.sendall(json.dumps({"op": "event", "event": event}).encode() + b"\n")


def a_gate_that_fails(control: Any, registration: Any, config: GateConfig) -> None:
    raise BottleError("no certificate could be made", why="no entropy")


def a_gate_with_a_bug(control: Any, registration: Any, config: GateConfig) -> None:
    raise ValueError("SECRET")


def a_silent_gate(control: Any, registration: Any, config: GateConfig) -> None:
    return


def a_gate_that_hangs(control: Any, registration: Any, config: GateConfig) -> None:
    signal.pause()


def config() -> GateConfig:
    return GateConfig("tester-000000", ())


def gate_pid(kept: Kept) -> int:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{name}/cmdline") as file:
                    title = file.read()
            except OSError:
                continue
            if parent == kept.up.keeper and title.startswith("claude_bottle.gate "):
                return int(name)
    raise AssertionError("no gate")


def test_events_of_the_gate_stand_in_the_journal(launch: Launch) -> None:
    kept = launch("sh", "-c", "exit 1", gate=config(), serve=a_gate)
    outcome(kept)
    lines = [line.event for line in read(kept.order.paths.journal(kept.identity)) if line.event]
    assert [event["data"] for event in lines if event["kind"] == "dns"] == [{"name": "early"}]


def test_a_killed_gate_leaves_the_agent_running_and_is_told(launch: Launch) -> None:
    kept = launch("sleep", "1000", gate=config(), serve=a_gate)
    os.kill(gate_pid(kept), signal.SIGKILL)
    with kept.control() as control:
        eventually(lambda: control.status()["gate"] == "down")
        control.stop(GRACE, keep=True)
        control.settled()
    assert "fault" in kinds(kept)


def test_a_gate_that_hangs_keeps_nobody_from_ending_its_bottle(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_link, "_STOP_SECONDS", 0.5)
    kept = launch("sh", "-c", SAY + "exec sleep 1000", gate=config(), serve=a_gate)
    wait_for_conversation(kept)
    gate = gate_pid(kept)
    os.kill(gate, signal.SIGSTOP)
    with kept.control() as control:
        control.stop(GRACE, keep=True)
        control.settled()
    assert ended(gate)
    assert "hello" in archived(kept)


def test_a_gate_that_hangs_at_its_start_is_given_up_and_nothing_starts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_link, "BOOT_SECONDS", 0.5)
    order = orders.order(root, "true", gate=config(), serve=a_gate_that_hangs)
    with pytest.raises(BottleError, match="gate did not start"):
        start(order)
    assert Store(order.paths).identities() == []


def test_a_killed_keeper_takes_the_gate_with_it(launch: Launch) -> None:
    kept = launch("sleep", "1000", gate=config(), serve=a_gate)
    gate = gate_pid(kept)
    os.kill(kept.up.keeper, signal.SIGKILL)
    assert ended(gate)


@pytest.mark.parametrize("serve", [a_gate_that_fails, a_gate_with_a_bug, a_silent_gate])
def test_without_a_gate_nothing_starts(root: Path, serve: Any) -> None:
    order = orders.order(root, "true", gate=config(), serve=serve)
    with pytest.raises(BottleError, match="gate did not start") as failed:
        start(order)
    assert "SECRET" not in str(failed.value.to_dict())
    assert Store(order.paths).identities() == []


class Noted(Begun):
    """A launch on its way that is only a pipe, and a file for what becomes of it."""

    def __init__(self, place: Path) -> None:
        self.place, self.ends = place, os.pipe()

    def descriptors(self) -> tuple[int, ...]:
        return self.ends

    def hand_over(self) -> None:
        for end in self.ends:
            os.close(end)

    def abandon(self) -> None:
        self.hand_over()  # which fails unless the keeper has kept them open
        self.place.write_text(str(os.getpid()))


def test_what_has_been_begun_is_the_keepers_to_take_back(root: Path, tmp_path: Path) -> None:
    begun = Noted(tmp_path / "abandoned-by")
    order = orders.order(root, "true", gate=config(), serve=a_gate_that_fails, begun=begun)
    with pytest.raises(BottleError):
        start(order)
    assert int((tmp_path / "abandoned-by").read_text()) != os.getpid()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(begun.ends[0])


@pytest.mark.parametrize("tty", [False, True])
def test_a_program_that_cannot_be_started_ends_neither_keeper_nor_agent(launch: Launch, tty: bool) -> None:
    """An agent sees to that with one word: it closes the working directory, or takes all the processes there may be."""

    class Closing(FakeBottle):
        def spawn(self, argv: Any, **options: Any) -> Any:
            if argv != ["true"]:
                return super().spawn(argv, **options)
            raise BottleError("cannot enter the bottle", why="Permission denied: /workspace")

    class Closed(FakeBackend):
        bottle = Closing

    kept = launch("sleep", "1000", backend=Closed())
    for _ in range(3):
        with kept.control() as program:
            program.send({"op": "exec", "argv": ["true"], "tty": tty})
            with pytest.raises(BottleError, match="cannot enter the bottle"):
                program.settled()
    with kept.control() as control:
        assert control.status()["execs"] == 0
        control.stop(GRACE, keep=False)
        settled = control.settled()
    assert settled is not None
    assert settled["preserved"] == ["stopped (killed (SIGTERM))"]


def test_what_cannot_be_recorded_halts_the_gate_until_it_can(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.1)
    kept = launch("sleep", "1000", gate=config(), serve=a_gate)
    unlimited = resource.prlimit(kept.up.keeper, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    with kept.control() as control, kept.control() as program:
        program.send({"op": "exec", "argv": ["true"], "tty": False})
        eventually(lambda: control.status()["halted"])
        resource.prlimit(kept.up.keeper, resource.RLIMIT_FSIZE, unlimited)
        eventually(lambda: not control.status()["halted"])
        eventually(lambda: "resume" in [data.get("heard") for data in recorded(kept)])  # what the gate answers to that
        control.stop(GRACE, keep=True)
        control.settled()
    assert any(data.get("events_lost", 0) > 0 for data in recorded(kept))


def recorded(kept: Kept) -> list[dict[str, Any]]:
    return [line.event["data"] for line in read(kept.order.paths.journal(kept.identity)) if line.event]


def test_nothing_starts_that_cannot_be_recorded(root: Path) -> None:
    order = orders.order(root, "true")
    order.paths.journal(order.identity).mkdir()
    with pytest.raises(BottleError):
        start(order)
    assert Store(order.paths).identities() == []


def test_the_gate_holds_nothing_of_the_keepers(launch: Launch) -> None:
    kept = launch("sleep", "1000", gate=config(), serve=a_gate)
    gate = gate_pid(kept)
    held = {os.readlink(f"/proc/{gate}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{gate}/fd")}
    assert held <= {"/dev/null", "socket"}


# What the keeper is


def test_the_keeper_is_a_daemon_of_its_own(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    pid = kept.up.keeper
    assert kept.birth.status()["keeper"] == pid  # it has begun to wait, and opens nothing now
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    with open(f"/proc/{pid}/cmdline") as file:
        assert file.read().startswith(f"claude_bottle.keeper {kept.identity}")
    files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert files.count("/dev/null") == 3
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    assert status["Umask"].strip() == "0077"


def test_the_agent_inherits_no_ignored_signal_and_no_descriptor(launch: Launch) -> None:
    kept = launch("sh", "-c", "grep -E 'SigIgn|SigBlk' /proc/self/status > sigs; ls /proc/self/fd > fds; exit 1")
    outcome(kept)
    workspace = kept.order.workspace
    # 32 and 33 are the C library's own: its posix_spawn may leave them ignored, and no program can change that.
    internal = 0b11 << 31
    assert not any(int(line.split()[1], 16) & ~internal for line in (workspace / "sigs").read_text().splitlines())
    assert set((workspace / "fds").read_text().split()) <= {"0", "1", "2", "3"}


def test_a_bug_of_the_keeper_ends_in_a_settled_bottle(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    from claude_bottle.keeper import clients

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(clients._OPERATIONS, "status", broken)
    kept = launch("sh", "-c", SAY + "exec sleep 1000")
    wait_for_conversation(kept)
    with kept.control() as control:
        control.send({"op": "status"})
        assert control.wait().how == ENDED
        assert kept.gone()
    record = Store(kept.order.paths).load(kept.identity)
    assert record.status == "preserved"
    assert "the keeper failed" in record.preserved
    assert "hello" in archived(kept)
    report = next((kept.order.paths.root / "reports").iterdir()).read_text()
    assert "ZeroDivisionError" in report


def test_a_full_disk_keeps_nobody_from_stopping_a_bottle(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    resource.prlimit(kept.up.keeper, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    with kept.control() as control:
        assert control.stop(GRACE, keep=True).how == ENDED
        settled = control.settled()
    assert settled is not None
    assert "operator" in str(settled["preserved"])


def test_a_bottle_that_does_not_run_cannot_be_talked_to(root: Path) -> None:
    with pytest.raises(BottleError, match="no bottle called tester-000000"):
        Control(Paths(root), "tester-000000")
