"""Credentials with a ttl, kept fresh beside the keeper's loop. The commands are real programs; nothing here is timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper import credentials
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.credentials import HostCommand, Refresher, Values, now, printed
from claude_bottle.keeper.loop import Loop
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.state.journal import Journal, read
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store
from tests.keeper.loops import run_until
from tests.waiting import ended

IDENTITY = "tester-k3x9qa"


def spec(*argv: str, ttl: int = 1) -> CredentialSpec:
    return CredentialSpec("github", "command", argv, "GITHUB_TOKEN", "authorization", "Bearer {secret}", ttl)


def shell(script: str, ttl: int = 1) -> CredentialSpec:
    return spec("/bin/sh", "-c", script, ttl=ttl)


def bound(source: CredentialSpec) -> BoundCredential:
    return BoundCredential(source, "bottle-placeholder-000000000000", Secret("first-secret"), (("api.test", 443),))


class Rig:
    """A loop, a journal, and what the gate was told."""

    def __init__(self, root: Path) -> None:
        self.loop, self.paths = Loop(), Paths(root)
        Store(self.paths).create(BottleRecord(IDENTITY, "tester", "shell", "local"))
        self.journal = Journal.open(self.paths, IDENTITY)
        self.audit = Audit(self.loop, self.journal, None)
        self.told: list[Values] = []

    def refresher(self, source: CredentialSpec, enough: Callable[[], bool], read_at: float | None = None) -> Refresher:
        """Run until `enough`; it is asked whenever the gate is told something, and often."""

        def tell(values: Values) -> None:
            self.told.append(values)

        made = Refresher(self.loop, [bound(source)], now() if read_at is None else read_at, tell, self.audit)

        run_until(self.loop, enough)
        made.close()
        return made

    def events(self, kind: str) -> list[dict[str, object]]:
        lines = read(self.paths.journal(IDENTITY))
        return [line.event["data"] for line in lines if line.event and line.event["kind"] == kind]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "root")
    yield made
    made.journal.close()
    made.loop.close()


def test_the_command_runs_again_before_the_value_expires(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_EARLIEST", 0.0)
    monkeypatch.setattr(credentials, "_LATEST", 0.0)
    count = tmp_path / "count"
    rig.refresher(shell(f"echo x >> {count}; echo secret-$(wc -l < {count})", ttl=9999), lambda: len(rig.told) > 1)
    assert rig.told[:2] == [{"github": "secret-1"}, {"github": "secret-2"}]
    assert rig.events("credential_read")[:2] == [{"name": "github", "source": "command"}] * 2
    assert rig.events("fault") == []


def test_a_failure_keeps_the_old_value_until_it_expires_and_is_tried_again(rig: Rig, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    script = f"test -e {mended} && echo secret-new || {{ echo not signed in >&2; exit 4; }}"

    def enough() -> bool:
        if len(rig.events("fault")) == 2:  # failed and expired, in whichever order
            mended.touch()
        return len(rig.told) > 1

    rig.refresher(shell(script), enough)
    assert rig.told[:2] == [{"github": None}, {"github": "secret-new"}]  # and may expire again, where this stands still
    faults = {fault["what"]: fault["why"] for fault in rig.events("fault")}
    assert faults.keys() == {"a credential could not be read again", "a credential has expired"}
    assert faults["a credential could not be read again"] == "/bin/sh ended with exit code 4\nnot signed in"


def test_one_way_of_failing_is_journalled_once(rig: Rig, tmp_path: Path) -> None:
    count = tmp_path / "count"
    source = shell(f"echo x >> {count}; exit 1", ttl=20)
    rig.refresher(source, lambda: count.exists() and count.read_text() == "x\nx\n", read_at=now() - 19)
    assert [fault["what"] for fault in rig.events("fault")].count("a credential could not be read again") == 1


def test_a_credential_that_has_expired_while_nobody_looked_is_refused_before_the_command_answers(rig: Rig) -> None:
    """A machine that slept: the time went on, the timers did not."""
    rig.refresher(shell("sleep 60", ttl=5), lambda: bool(rig.told), read_at=now() - 100)
    assert rig.told == [{"github": None}]


def test_a_command_that_does_not_exist_is_a_failure_like_any_other(rig: Rig) -> None:
    rig.refresher(spec("/no/such/program"), lambda: bool(rig.told) and bool(rig.events("fault")))
    assert rig.told == [{"github": None}]
    assert any("No such file" in str(fault["why"]) for fault in rig.events("fault"))


def test_credentials_without_a_ttl_are_left_alone(rig: Rig, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    past = bound(shell(f"touch {marker}", ttl=0))
    Refresher(rig.loop, [past], 0.0, rig.told.append, rig.audit)
    rig.loop.later(0.05, rig.loop.stop)
    rig.loop.run()
    assert not marker.exists()


def test_neither_value_stands_in_the_journal(rig: Rig) -> None:
    script = "echo printed-secret-abc; echo 'no: printed-secret-abc, first-secret' >&2; exit 1"
    rig.refresher(shell(script), lambda: "exit code 1" in str(rig.events("fault")))
    rig.refresher(shell("echo another-secret"), lambda: {"github": "another-secret"} in rig.told)
    text = rig.paths.journal(IDENTITY).read_text()
    assert "printed-secret" not in text
    assert "first-secret" not in text
    assert "another-secret" not in text
    assert "[redacted]" in text


def test_it_runs_in_the_root_directory_with_no_terminal_and_the_operators_environment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATORS_OWN", "yes")
    told: list[tuple[int, bytes, bytes]] = []

    def done(code: int, out: bytes, err: bytes) -> None:
        told.append((code, out, err))
        rig.loop.stop()

    HostCommand(rig.loop, ["/bin/sh", "-c", "pwd; echo $OPERATORS_OWN; cat; ls /proc/self/fd; tty"], done)
    rig.loop.run()
    assert told == [(1, b"/\nyes\n0\n1\n2\n3\nnot a tty\n", b"")]


def test_a_child_left_behind_does_not_hold_up_the_answer(rig: Rig) -> None:
    told: list[bytes] = []

    def done(_code: int, out: bytes, _err: bytes) -> None:
        told.append(out)
        rig.loop.stop()

    HostCommand(rig.loop, ["/bin/sh", "-c", "(sleep 30; echo late) & echo now"], done)
    rig.loop.run()
    assert told == [b"now\n"]


def test_a_command_that_prints_without_end_is_killed(rig: Rig) -> None:
    told: list[int] = []

    def done(code: int, out: bytes, _err: bytes) -> None:
        told.extend((code, len(out)))
        rig.loop.stop()

    HostCommand(rig.loop, ["/bin/cat", "/dev/zero"], done)
    rig.loop.run()
    assert told[0] == -9
    assert told[1] < 1 << 20


def test_a_command_that_never_ends_is_killed_with_what_it_started(rig: Rig, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    told: list[int] = []

    def done(code: int, _out: bytes, _err: bytes) -> None:
        told.append(code)
        rig.loop.stop()

    def bring_forward() -> None:
        if pid.exists() and pid.read_text():
            command._timer.at = 0.0
        else:
            rig.loop.later(0.01, bring_forward)

    command = HostCommand(rig.loop, ["/bin/sh", "-c", f"sleep 300 & echo $! > {pid}; wait"], done)
    bring_forward()
    rig.loop.run()
    assert told == [-9]
    assert ended(int(pid.read_text()))


def test_close_ends_a_running_command_and_leaves_no_descriptor(rig: Rig) -> None:
    before = set(os.listdir("/proc/self/fd"))
    command = HostCommand(rig.loop, ["/bin/sleep", "300"], lambda *_: None)
    command.end()
    assert not set(os.listdir("/proc/self/fd")) - before  # what earlier tests left may be collected meanwhile


@pytest.mark.parametrize("text", [b"", b"\n", b"two\nlines", "späß".encode(), b"\x1b[31m"])
def test_a_value_that_no_header_carries_is_refused_without_showing_it(text: bytes) -> None:
    with pytest.raises(BottleError) as raised:
        printed(shell("x"), 0, text, b"")
    assert "two" not in str(raised.value.to_dict())


def test_a_failing_commands_words_are_shown_without_what_it_printed() -> None:
    with pytest.raises(BottleError) as raised:
        printed(shell("x"), 3, b"half-a-secret\n", b"debug: half-a-secret old-one\nplease sign in\n", Secret("old-one"))
    assert raised.value.why == "/bin/sh ended with exit code 3\ndebug: [redacted] [redacted]\nplease sign in"


def test_a_gate_that_follows_begins_with_the_value_of_now(root: Path) -> None:
    rig = Rig(root)
    made = rig.refresher(shell("echo second-secret"), lambda: bool(rig.told))
    (one,) = made.current([bound(shell("echo second-secret"))])
    assert one.secret.reveal() == "second-secret"
    assert one.placeholder == bound(shell("x")).placeholder


def test_a_gate_that_follows_is_told_what_has_expired(root: Path) -> None:
    rig = Rig(root)
    made = rig.refresher(shell("exit 1"), lambda: {"github": None} in rig.told)
    rig.told.clear()
    made.tell_expired()
    assert rig.told == [{"github": None}]
