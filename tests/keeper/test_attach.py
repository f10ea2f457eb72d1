"""Real terminals: attach, leave, come back, be killed; the terminal is as it was afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from claude_bottle.keeper import execs, frames, pty
from claude_bottle.keeper.client import Control
from claude_bottle.state.paths import Paths
from tests.keeper.conftest import Kept, Launch
from tests.waiting import SECONDS, asleep, ended, eventually, hang_up, stopped

SHELL = ("sh", "-i")
# A full-screen program: says its size whenever that changes, echoes keys, uses everything that must be undone. What it begins
# with is one write, which no change of its size comes before.
SCREEN = r"""
import os, signal, sys, termios, tty
def draw(*_, first=b""):
    size = os.get_terminal_size(0)
    os.write(1, first + b"\x1b[2J\x1b[Hsize %dx%d;" % (size.lines, size.columns))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
signal.signal(signal.SIGWINCH, draw)
tty.setraw(0)
modes = b"\x1b[?1049h\x1b[?25l\x1b[?1002h\x1b[?1006h\x1b[?2004h\x1b[?1h\x1b[31m\x1b[>1u\x1b[c\x1b]52;c;SECRET\x07"
draw(first=modes)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGWINCH])
while key := os.read(0, 100):
    if key == b"q":
        break
    os.write(1, b"key %r;" % key)
"""

Terminal = Callable[..., Any]  # returns a pexpect.spawn of bytes


@pytest.fixture
def terminal(root: Path) -> Iterator[Terminal]:
    """`terminal(verb, *rest)`: the test CLI on a pty of its own. Keepers it started are ended with it."""
    made: list[Any] = []

    def terminal(verb: str, *rest: str, rows: int = 24, cols: int = 80) -> Any:
        argv = ["-m", "tests.keeper.program", verb, str(root), *rest]
        child = pexpect.spawn(sys.executable, argv, dimensions=(rows, cols), timeout=SECONDS, echo=True)
        made.append(child)
        return child

    yield terminal
    for child in made:
        hang_up(child)
    for socket in (root / "run").glob("*.sock"):
        try:
            with Control(Paths(root), socket.stem) as control:
                os.kill(int(str(control.status()["keeper"])), signal.SIGKILL)
        except Exception:
            continue


def line(child: Any) -> Any:
    """The next line of JSON our CLI printed."""
    child.expect(rb"\{\"[^\r\n]*\}\r?\n")
    return json.loads(child.after)


def settings(child: Any) -> list[Any]:
    return termios.tcgetattr(child.fileno())


def cooked(child: Any) -> bool:
    return bool(settings(child)[3] & termios.ICANON and settings(child)[3] & termios.ECHO)


def press_detach(child: Any) -> None:
    child.send(b"\x1d")
    assert line(child) == {"how": "detached", "code": None}
    child.expect(pexpect.EOF)
    child.wait()


def test_what_is_typed_reaches_the_agent_and_its_end_gives_the_terminal_back(terminal: Terminal) -> None:
    child = terminal("start", *SHELL)
    line(child)
    child.expect(rb"\$ ")
    assert not cooked(child)
    child.send(b"until stty size | grep '24 80'; do :; done; echo $((6*7))\r")
    child.expect(rb"\n24 80\r\n42\r\n")
    child.send(b"exit 4\r")
    assert line(child) == {"how": "ended", "code": 4}
    assert line(child)["settled"]["preserved"] == ["exit 4"]
    child.expect(pexpect.EOF)
    assert settings(child) == fresh()


def fresh() -> list[Any]:
    """The settings of a terminal that nobody has used."""
    master, slave = os.openpty()
    try:
        return termios.tcgetattr(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_the_detach_key_leaves_and_the_agent_runs_on(terminal: Terminal) -> None:
    child = terminal("start", *SHELL)
    identity = line(child)["identity"]
    child.expect(rb"\$ ")
    child.send(b"there=still\r")
    child.expect(rb"\$ ")
    press_detach(child)
    again = terminal("attach", identity)
    again.expect(rb"\$ ")
    again.send(b"echo it is $there here\r")
    again.expect(rb"it is still here")
    press_detach(again)


def test_a_killed_cli_leaves_the_agent_running_and_its_terminal_is_recovered(terminal: Terminal, root: Path) -> None:
    child = terminal("start", *SHELL)
    identity = line(child)["identity"]
    child.expect(rb"\$ ")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.expect(pexpect.EOF)
    again = terminal("attach", identity)
    again.send(b"echo on$((1))\r")
    again.expect(rb"on1")


def test_a_terminal_a_killed_cli_left_raw_is_given_back_sane() -> None:
    from claude_bottle.keeper.screen import raw, recover

    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, raw(termios.tcgetattr(slave)))  # type: ignore[arg-type]
    assert recover(slave, slave)
    found = termios.tcgetattr(slave)
    assert found[3] & termios.ICANON
    assert found[3] & termios.ECHO
    assert found[1] & termios.OPOST
    assert not recover(slave, slave)
    os.close(master)
    os.close(slave)


def test_a_closed_terminal_detaches(terminal: Terminal, root: Path) -> None:
    child = terminal("start", *SHELL)
    identity = line(child)["identity"]
    child.expect(rb"\$ ")
    hang_up(child)
    assert child.signalstatus != signal.SIGKILL, "it has ended by itself"
    with Control(Paths(root), identity) as control:
        assert control.status()["attached"] == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_cli_detaches_and_gives_the_terminal_back(terminal: Terminal, sig: signal.Signals) -> None:
    child = terminal("start", *SHELL)
    line(child)
    child.expect(rb"\$ ")
    assert child.pid is not None
    os.kill(child.pid, sig)
    assert line(child)["how"] == "detached"
    child.expect(pexpect.EOF)
    assert cooked(child)


def test_a_killed_keeper_is_told_and_the_terminal_given_back(terminal: Terminal) -> None:
    child = terminal("start", sys.executable, "-c", SCREEN)
    keeper = line(child)["keeper"]
    child.expect(rb"size 24x80;")
    os.kill(keeper, signal.SIGKILL)
    child.expect(rb"\x1b\[\?1049l")
    assert line(child) == {"how": "lost", "code": None}
    child.expect(pexpect.EOF)
    assert cooked(child)


def test_everything_a_full_screen_program_switched_on_is_switched_off(terminal: Terminal) -> None:
    child = terminal("start", sys.executable, "-c", SCREEN)
    line(child)
    child.expect(rb"size 24x80;")
    shown = child.before + child.after
    assert b"\x1b[?1049h" in shown
    for forbidden in (b"SECRET", b"\x1b[>1u", b"\x1b[c"):
        assert forbidden not in shown
    child.send(b"\x1d")
    child.expect(rb"\{\"how\"")
    reset = child.before
    assert b"\x1b[?1049l" in reset
    assert b"\x1b[?25h" in reset
    assert b"\x1b[m" in reset
    off = re.search(rb"\x1b\[\?([0-9;]+)l", reset)
    assert off is not None
    assert {b"1002", b"1006", b"2004", b"1"} <= set(off.group(1).split(b";"))


def test_input_the_agent_did_not_take_is_not_typed_into_the_operators_shell(terminal: Terminal) -> None:
    child = terminal("start", *SHELL)
    line(child)
    child.expect(rb"\$ ")
    child.send(b"\x1drm -rf precious\r")
    assert line(child)["how"] == "detached"
    child.expect(pexpect.EOF)
    assert b"rm -rf" not in child.before


def test_attaching_makes_a_full_screen_program_draw_again(
    terminal: Terminal, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pty, "NUDGE_SECONDS", SECONDS)  # for a program that nobody lets run
    identity = launch(sys.executable, "-c", SCREEN).identity
    child = terminal("attach", identity)
    child.expect(rb"size 24x80;")
    press_detach(child)
    again = terminal("attach", identity)
    again.expect(rb"size 24x79;.*size 24x80;")
    bigger = terminal("attach", identity, rows=40, cols=120)
    bigger.expect(rb"size 40x120;")
    again.expect(rb"size 40x120;")
    bigger.setwinsize(41, 121)
    bigger.expect(rb"size 41x121;")
    press_detach(bigger)
    again.expect(rb"size 24x80;")


def test_a_program_that_is_slow_to_look_at_its_size_is_made_to_draw_all_the_same(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown for a fixed moment, the other size would be gone before it looks, and nothing drawn."""
    monkeypatch.setattr(pty, "NUDGE_SECONDS", 3600.0)
    kept = launch(sys.executable, "-c", SCREEN)
    with kept.control() as control:
        control.send({"op": "attach", "rows": 24, "cols": 80})
        shown = b""
        while not re.search(rb"size 24x79;.*size 24x80;", shown, re.DOTALL):
            received = control.receive()
            assert received is not None
            shown += b"".join(data for _kind, data in received)


def test_several_operators_see_the_same_and_may_all_type(terminal: Terminal) -> None:
    one = terminal("start", *SHELL)
    identity = line(one)["identity"]
    one.expect(rb"\$ ")
    two = terminal("attach", identity)
    two.expect(rb"\$ ")
    two.send(b"echo from$((2))\r")
    one.expect(rb"from2")
    one.send(b"echo from$((1))\r")
    two.expect(rb"from1")


def test_the_words_of_an_agent_that_ends_before_its_cli_has_come_to_attach_are_shown(launch: Launch) -> None:
    kept = launch("sh", "-c", "until [ -e go ]; do :; done; echo last words; exit 3")
    with kept.control() as other:
        (kept.order.workspace / "go").touch()
        assert other.wait().code == 3
    kept.birth.send({"op": "attach", "rows": 24, "cols": 80})
    shown, over = b"", False
    while not over:
        received = kept.birth.receive()
        assert received is not None
        shown += b"".join(data for kind, data in received if kind == frames.OUTPUT)
        over = any(kind == frames.JSON and b'"ended"' in data for kind, data in received)
    assert shown == b"last words\r\n"


def test_attaching_needs_a_terminal(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    argv = [sys.executable, "-m", "tests.keeper.program", "attach", str(kept.order.paths.root), kept.identity]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs a terminal" in done.stdout


def test_the_recording_holds_the_filtered_output_and_no_input(terminal: Terminal, root: Path) -> None:
    child = terminal("start", "sh", "-c", r"stty -echo; printf 'shown \033]52;c;HIDDEN\007'; read password; echo; exit 1")
    identity = line(child)["identity"]
    child.expect(rb"shown ")
    child.send(b"hunter2\r")
    assert line(child)["code"] == 1
    assert line(child)
    recording = Paths(root).recording(identity).read_text()
    assert "shown" in recording
    assert "HIDDEN" not in recording
    assert "hunter2" not in recording


# exec


def run_exec(kept: Kept, *argv: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.keeper.program", "exec", str(kept.order.paths.root), kept.identity, "pipes"]
    return subprocess.run([*command, *argv], input=data, capture_output=True, check=False, timeout=SECONDS)


def test_exec_without_a_terminal_keeps_the_streams_apart_and_returns_the_code(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    done = run_exec(kept, "sh", "-c", "cat; echo problem >&2; exit 9", data=b"x" * 2_000_000)
    assert done.stdout == b"x" * 2_000_000
    assert done.stderr == b"problem\n"
    assert done.returncode == 9


def test_exec_delivers_more_than_any_buffer_holds(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    assert len(run_exec(kept, "head", "-c", "20000000", "/dev/zero").stdout) == 20_000_000


def test_exec_of_what_does_not_exist_says_127(launch: Launch) -> None:
    assert run_exec(launch("sleep", "1000"), "no-such-program").returncode == 127


def test_exec_with_a_terminal_has_one_of_its_own(terminal: Terminal) -> None:
    child = terminal("start", *SHELL)
    identity = line(child)["identity"]
    child.expect(rb"\$ ")
    beside = terminal(
        "exec", identity, "tty", "sh", "-c", r"tty; stty size; printf 'a\033[cb\n'; read x; exit $x", rows=30, cols=90
    )
    beside.expect(rb"/dev/pts/\d+\r\n30 90\r\nab\r\n")
    beside.send(b"6\r")
    assert line(beside) == {"code": 6}
    beside.expect(pexpect.EOF)
    assert cooked(beside)
    child.send(b"echo agent$((1))\r")
    child.expect(rb"agent1")


def test_a_program_whose_operator_goes_is_hung_up_on(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execs, "HANG_UP_SECONDS", SECONDS)
    kept = launch("sleep", "1000")
    command = [sys.executable, "-m", "tests.keeper.program", "exec", str(kept.order.paths.root), kept.identity, "pipes"]
    cli = subprocess.Popen(
        [*command, "sh", "-c", "trap 'echo > hup; exit' HUP; echo $$; while :; do sleep 0.2; done"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert cli.stdout is not None
    program = int(cli.stdout.readline())
    cli.kill()
    cli.communicate()
    assert ended(program)
    assert (kept.order.workspace / "hup").exists()


def test_ctrl_c_at_an_exec_without_a_terminal_reaches_the_program(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    command = [sys.executable, "-m", "tests.keeper.program", "exec", str(kept.order.paths.root), kept.identity, "pipes"]
    cli = subprocess.Popen([*command, "sh", "-c", "echo up; exec sleep 1000"], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert cli.stdout is not None
    assert cli.stdout.readline() == b"up\n"
    cli.send_signal(signal.SIGINT)
    assert cli.wait(SECONDS) == 130


def test_ctrl_c_in_the_middle_of_much_input_reaches_the_program_too(launch: Launch) -> None:
    """It is told on the line that the input goes by, which is full: the keeper stands still."""
    kept = launch("sleep", "1000")
    command = [sys.executable, "-m", "tests.keeper.program", "exec", str(kept.order.paths.root), kept.identity, "pipes"]
    program = "trap 'exit 7' INT; echo up; cat > /dev/null; exit 5"
    cli = subprocess.Popen([*command, "sh", "-c", program], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert cli.stdout is not None and cli.stdin is not None
    assert cli.stdout.readline() == b"up\n"
    os.kill(kept.up.keeper, signal.SIGSTOP)
    eventually(lambda: stopped(kept.up.keeper))
    os.set_blocking(cli.stdin.fileno(), False)
    eventually(lambda: full(cli.stdin.fileno()) and asleep(cli.pid))  # type: ignore[union-attr]
    cli.send_signal(signal.SIGINT)
    os.kill(kept.up.keeper, signal.SIGCONT)
    cli.stdin.close()
    assert cli.wait(SECONDS) == 7
    cli.stdout.close()


def full(pipe: int) -> bool:
    """Whether nothing more goes into it, for now."""
    try:
        while os.write(pipe, bytes(1 << 16)):
            pass
    except BlockingIOError:
        return True
    return False


def test_programs_end_with_the_agent(launch: Launch) -> None:
    kept = launch("sh", "-c", "read x; exit 2")
    command = [sys.executable, "-m", "tests.keeper.program", "exec", str(kept.order.paths.root), kept.identity, "pipes"]
    cli = subprocess.Popen([*command, "sh", "-c", "echo up; exec sleep 1000"], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert cli.stdout is not None
    assert cli.stdout.readline() == b"up\n"
    with kept.control() as control:
        control.stop(SECONDS, keep=False)
    assert cli.wait(SECONDS) == 137


def test_every_exec_stands_in_the_journal(launch: Launch) -> None:
    from claude_bottle.state.journal import read

    kept = launch("sleep", "1000")
    run_exec(kept, "echo", "hello")
    events = [entry.event for entry in read(kept.order.paths.journal(kept.identity)) if entry.event]
    assert [event["data"]["argv"] for event in events if event["kind"] == "exec"] == [["echo", "hello"]]
