"""Programs in a running container bottle: what they get, how they end, and how a bottle is taken down around them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.docker import endpoint
from claude_bottle.backend.docker.bottle import DockerBottle, DockerProcess
from claude_bottle.errors import BottleError
from claude_bottle.model.names import new_identity
from tests.backend.docker.bottles import ENV, Place, launched, output, start
from tests.in_bottle import Gate
from tests.waiting import SECONDS, ended, eventually, readable, said


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_the_exit_code_is_the_programs_own_or_128_and_its_signal(bottle: DockerBottle, command: str, code: int) -> None:
    process = start(bottle, "sh", "-c", command)
    assert [process.wait(), process.wait(), process.poll()] == [code] * 3


def test_a_signal_that_comes_too_late_does_not_hide_how_the_program_ended() -> None:
    """An end with something unread resets the other one (unix(7)), which is told before what was said."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = DockerProcess(ours, 1)
    process.kill_group(signal.SIGCONT)
    theirs.send(b'{"op": "exit", "code": 0}')
    theirs.close()
    assert process.wait() == 0


def test_a_program_that_is_not_there_or_cannot_run_ends_as_a_shell_would_say(bottle: DockerBottle) -> None:
    output(bottle, "sh", "-c", "touch plain; printf 'exit 9\n' > script; chmod +x script")
    codes = [start(bottle, name, err=_null()).wait() for name in ("no-such-program", "./plain", "/usr", "./script", "--help")]
    assert codes == [127, 126, 126, 9, 127]


def test_a_keeper_that_loses_interest_in_a_program_before_it_hears_of_its_birth_ends_nothing(bottle: DockerBottle) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command, null = os.memfd_create("command"), _null()
    os.pwrite(command, json.dumps({"argv": ["sleep", "1000"], "env": ENV, "cwd": "/", "tty": False}).encode(), 0)
    bottle._ask("cannot start it", {"op": "spawn"}, (command, null, null, null, theirs.fileno()))
    theirs.close()
    assert readable(ours.fileno())
    ours.close()
    assert output(bottle, "echo", "on") == (0, "on\n")
    os.close(command)
    os.close(null)


def _null() -> int:
    return os.open("/dev/null", os.O_WRONLY)


def test_a_working_directory_that_is_not_there_is_an_error(bottle: DockerBottle) -> None:
    with pytest.raises(BottleError) as refused:
        start(bottle, "true", cwd="/nowhere")
    assert (refused.value.what, refused.value.why) == ("cannot run true in the bottle", "No such file or directory: /nowhere")


def test_stdout_and_stderr_are_separate_and_stdin_is_read_to_its_end(bottle: DockerBottle) -> None:
    (in_end, in_other), (out_end, out_other), (err_end, err_other) = os.pipe(), os.pipe(), os.pipe()
    os.fchown(err_other, bottle.host_uid if bottle.host_uid is not None else -1, -1)
    process = start(bottle, "sh", "-c", "cat; echo problem >&2; echo named > /dev/stderr", stdin=in_end, out=out_other,
                    err=err_other)  # fmt: skip
    os.write(in_other, b"said")
    for fd in (in_end, in_other, out_other, err_other):
        os.close(fd)
    assert process.wait() == 0
    assert (os.read(out_end, 100), os.read(err_end, 100)) == (b"said", b"problem\nnamed\n")
    os.close(out_end)
    os.close(err_end)


def test_large_input_comes_out_as_it_went_in(bottle: DockerBottle) -> None:
    data = os.urandom(1 << 20) * 24
    (in_end, in_other), (out_end, out_other) = os.pipe(), os.pipe()
    process = start(bottle, "cat", stdin=in_end, out=out_other)
    os.close(in_end)
    os.close(out_other)
    with open(in_other, "wb") as sink:
        writer = threading.Thread(target=lambda: (sink.write(data), sink.close()))
        writer.start()
        with open(out_end, "rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        writer.join()
    assert process.wait() == 0
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_long_command_and_environment_arrive_whole(bottle: DockerBottle) -> None:
    words = [f"\x01\n\"'\\ \udcff{number}" + "x" * 90 for number in range(1000)]
    code, text = output(bottle, "python3", "-c", "import sys, os, json; print(json.dumps([sys.argv[1:], dict(os.environ)]))",
                        *words, env={**ENV, "ODD": "\x02\n=x", "LONG": "y" * 100_000})  # fmt: skip
    argv, env = json.loads(text)
    assert (code, argv) == (0, words)
    assert (env["ODD"], len(env["LONG"])) == ("\x02\n=x", 100_000)


def test_the_environment_is_exactly_what_was_given(bottle: DockerBottle) -> None:
    assert output(bottle, "/usr/bin/env", env={"ONLY": "this"}) == (0, "ONLY=this\n")


def test_a_program_holds_nothing_but_its_three_descriptors(bottle: DockerBottle) -> None:
    code, text = output(bottle, "ls", "-l", "/proc/self/fd")
    names = [line.split()[8] for line in text.splitlines()[1:]]
    assert (code, names) == (0, ["0", "1", "2", "3"])  # 3 is what ls opened to list them


def test_signals_reach_only_the_process_and_not_its_successor(bottle: DockerBottle) -> None:
    process = start(bottle, "sleep", "1000")
    process.kill(signal.SIGTERM)
    assert process.wait() == 143
    process.kill(signal.SIGKILL)
    assert process.poll() == 143


def test_a_programs_descriptor_becomes_readable_when_it_ends(bottle: DockerBottle) -> None:
    process = start(bottle, "sleep", "1000")
    assert not readable(process.pidfd, 0)
    assert process.poll() is None
    process.kill(signal.SIGKILL)
    assert readable(process.pidfd)
    assert process.poll() == 137


def test_a_programs_number_is_the_hosts(bottle: DockerBottle) -> None:
    process = start(bottle, "sleep", "1000")
    eventually(lambda: "Name:\tsleep" in Path(f"/proc/{process.pid}/status").read_text())
    process.kill(signal.SIGKILL)
    process.wait()


def test_with_a_terminal_the_program_leads_its_session(bottle: DockerBottle) -> None:
    master, slave = bottle.open_pty()
    probe = ("import os, json; fd = os.open('/dev/tty', os.O_RDWR); os.open(os.ttyname(0), os.O_RDWR); "
             "print(json.dumps([os.getsid(0) == os.getpid(), os.tcgetpgrp(fd) == os.getpid(), os.ttyname(0)[:9]]))")
    process = bottle.spawn(["python3", "-c", probe], env=ENV, stdio=(slave,) * 3, controlling_tty=True)
    assert process.wait() == 0
    assert json.loads(said(master, b"\n")) == [True, True, "/dev/pts/"]
    os.close(master)
    os.close(slave)


def test_a_change_of_the_window_is_seen_and_told(bottle: DockerBottle) -> None:
    master, slave = bottle.open_pty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    script = "trap 'stty size; exit' WINCH; stty -echo; stty size; while :; do sleep 0.02; done"
    process = bottle.spawn(["sh", "-c", script], env=ENV, stdio=(slave,) * 3, controlling_tty=True)
    assert said(master, b"\n") == b"33 77\r\n"
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
    assert said(master, b"\n") == b"44 99\r\n"
    assert process.wait() == 0
    os.close(master)
    os.close(slave)


def test_what_is_typed_reaches_the_program_and_control_c_interrupts_it(bottle: DockerBottle) -> None:
    master, slave = bottle.open_pty()
    process = bottle.spawn(["sh", "-c", "read line; echo got $line; exec sleep 1000"], env=ENV, stdio=(slave,) * 3,
                           controlling_tty=True)  # fmt: skip
    os.write(master, b"hello\n")
    seen = b""
    while b"got hello" not in seen:
        seen += os.read(master, 100)
    os.write(master, b"\x03")
    assert process.wait() == 130
    os.close(master)
    os.close(slave)


def test_many_programs_at_once_end_one_by_one(bottle: DockerBottle) -> None:
    processes = [start(bottle, "sh", "-c", f"exit {number}") for number in range(20)]
    assert [process.wait() for process in processes] == list(range(20))


def test_orphans_are_collected(bottle: DockerBottle) -> None:
    output(bottle, "sh", "-c", "(sleep 0.01 & sleep 0.02 &) ; exit 0")
    probe = """
import glob, time
for _ in range(6000):
    states = [open(path).read().rpartition(")")[2].split()[0] for path in glob.glob("/proc/[0-9]*/stat")]
    if "Z" not in states:
        break
    time.sleep(0.01)
print("Z" in states)
"""
    assert output(bottle, "python3", "-c", probe) == (0, "False\n")


def test_nobody_inside_can_signal_trace_or_read_the_first_process(bottle: DockerBottle) -> None:
    script = ("kill -9 1; kill -STOP 1; kill -TERM 1; cat /proc/1/environ 2>/dev/null; cat /proc/1/mem 2>/dev/null; "
              "ls /proc/1/fd /proc/1/root 2>/dev/null; echo done")  # fmt: skip
    assert output(bottle, "sh", "-c", script) == (0, "done\n")
    # Every signal there is; and SIGTERM with a made-up sender, as queued ones have (siginfo: number, errno, code, sender).
    script = """
import ctypes, os, platform, signal, struct
for number in signal.valid_signals():
    os.kill(1, number)
call = 129 if platform.machine() == "x86_64" else 138  # rt_sigqueueinfo
for code in (-1, -6, 0):
    ctypes.CDLL(None).syscall(call, 1, 15, struct.pack("=iiiiii104x", 15, 0, code, 0, 0, 0))
print("done")
"""
    assert output(bottle, "python3", "-c", script) == (0, "done\n")
    assert output(bottle, "echo", "still here") == (0, "still here\n")


def test_a_new_port_is_opened_in_the_running_network(bottle: DockerBottle) -> None:
    listener = bottle.open_port(8443)
    dial = "import socket; s = socket.create_connection(('127.0.0.1', 8443)); print(s.recv(9).decode())"
    end, other = os.pipe()
    process = start(bottle, "python3", "-c", dial, out=other)
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
    with pytest.raises(BottleError) as refused:
        bottle.open_port(8443)
    os.close(other)
    assert (process.wait(), os.read(end, 100), listener.get_inheritable()) == (0, b"hello\n", False)
    assert (refused.value.what, refused.value.why) == ("cannot open port 8443 in the bottle", "Address already in use")
    listener.close()
    os.close(end)


def test_exec_claude_appends_its_arguments_to_the_plans_command(bottle: DockerBottle) -> None:
    assert bottle.exec_claude(["exit 5"], tty=False) == 5
    assert bottle.exec(["sh", "-c", "exit 6"]) == 6


def test_terminate_lets_programs_say_goodbye(place: Place) -> None:
    """That it ends those that do not listen is in the contract (tests/conformance)."""
    with launched(place) as bottle:
        end, other = os.pipe()
        polite = start(bottle, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", out=other)
        assert os.read(end, 100) == b"up\n"
        bottle.terminate(2 * SECONDS)
        assert (os.read(end, 100), polite.wait(), bottle.alive()) == (b"bye\n", 3, False)
    for fd in (end, other):
        os.close(fd)


def test_close_and_release_may_be_called_again_and_leave_nothing(place: Place) -> None:
    with launched(place) as bottle:
        assert bottle.name == f"claude-bottle-{place.identity}"
        first = bottle._sandbox.first
        process = start(bottle, "sh", "-c", "sleep 1000 & sleep 1000")
        bottle.close()
        assert process.wait() == 137
        assert ended(first, 0)
        bottle.close()
        with pytest.raises(BottleError):
            start(bottle, "true")
        bottle.release()
        bottle.release()
    assert place.objects() == []
    assert sorted(path.name for path in (place.root / "state" / "run").iterdir()) == []


def test_a_container_that_is_killed_is_noticed_and_ends_its_programs(place: Place) -> None:
    with launched(place) as bottle:
        process = start(bottle, "sleep", "1000")
        assert bottle.alive()
        place.engine.docker("kill", bottle.name)
        assert readable(bottle.fileno())
        assert (process.wait(), bottle.alive()) == (137, False)
        with pytest.raises(BottleError):
            start(bottle, "true")


def test_docker_stop_ends_a_bottle_politely(place: Place) -> None:
    with launched(place) as bottle:
        end, other = os.pipe()
        process = start(bottle, "sh", "-c", "trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done", out=other)
        os.close(other)
        assert os.read(end, 3) == b"up\n"
        place.engine.docker("stop", "--time=60", bottle.name)
        os.close(end)
        assert (process.wait(), readable(bottle.fileno())) == (4, True)


def test_two_bottles_run_at_once_and_do_not_see_each_other(place: Place) -> None:
    with launched(place) as one, launched(place, identity=new_identity("other")) as other:
        output(one, "sh", "-c", "echo mine > ~/mine; echo mine > /tmp/mine")
        assert output(other, "sh", "-c", "ls ~ /tmp; ps ax -o comm= | grep -c sleep") == (1, "/home/agent:\n\n/tmp:\n0\n")
        one.release()
        assert output(other, "echo", "untouched") == (0, "untouched\n")


def test_the_gate_gets_the_listeners_and_answers_through_them(place: Place) -> None:
    gate = Gate()
    with launched(place, gate=gate, ports=(5432, 443), ca_bundle=b"PEM\n") as bottle:
        gate.thread.join()
        assert gate.message == {
            "nonce": "00ff", "listeners": ["dns-udp", "dns-tcp", "http", "https", "proxy", "port-5432"],
        }  # fmt: skip
        dial = "import socket; print(socket.create_connection(('198.18.7.7', 443)).recv(9).decode())"
        end, other = os.pipe()
        process = start(bottle, "python3", "-c", dial, out=other)
        connection, peer = gate.sockets["https"].accept()
        assert (peer[0], connection.getsockname()) == ("198.18.0.1", ("198.18.7.7", 443))
        connection.sendall(b"gate")
        connection.close()
        assert (process.wait(), os.read(end, 100)) == (0, b"gate\n")
        assert output(bottle, "cat", "/etc/ssl/certs/ca-certificates.crt") == (0, "PEM\n")
    os.close(end)
    os.close(other)
    gate.close()


def test_a_gate_that_refuses_the_listeners_means_no_bottle_and_nothing_left(place: Place) -> None:
    class Refusing(Gate):
        def _take(self) -> None:
            self.ours.recv(1 << 16)
            self.ours.sendall(b"n")

    gate = Refusing()
    with pytest.raises(BottleError, match="the gate refused"), launched(place, gate=gate):
        pass
    gate.close()
    assert place.objects() == []


def test_a_stopped_first_process_is_an_error_and_no_hang(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with launched(place) as bottle:
        bottle._sandbox.control._connection.settimeout(0.2)
        os.kill(bottle._sandbox.first, signal.SIGSTOP)
        with pytest.raises(BottleError) as refused:
            start(bottle, "true")
        os.kill(bottle._sandbox.first, signal.SIGCONT)
        assert refused.value.what == "cannot enter the bottle"
        bottle._sandbox.control._connection.settimeout(30)
        assert output(bottle, "echo", "again") == (0, "again\n")


def test_its_removal_is_waited_for_from_before_its_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that begins while the engine removes it may miss that (dockerd 20.10), and cost half a second."""
    put: list[tuple[str, bool]] = []
    send = endpoint.send

    def noted(method: str, path: str, *arguments: Any, **more: Any) -> Any:
        put.append((path, Path(f"/proc/{first}").exists()))
        return send(method, path, *arguments, **more)

    with launched(place) as bottle:
        first = bottle._sandbox.first
        monkeypatch.setattr(endpoint, "send", noted)
        bottle.release()
        monkeypatch.undo()
    assert next(alive for path, alive in put if path.endswith("/wait?condition=removed"))
    assert place.objects() == []
