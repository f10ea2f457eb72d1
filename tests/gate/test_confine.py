"""What a confined process can still do: read a few directories and talk on its sockets."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.gate import confine, landlock

needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
needs_scopes = pytest.mark.skipif(landlock.abi() < landlock.SCOPE_ABI, reason="this Landlock has no scopes")


def confined(attempt: Callable[[], object]) -> str:
    """What `attempt` gave in a confined child: "ok" or the error's name."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "ok"
        try:
            confine.detach(8192)
            confine.confine()
            attempt()
        except BaseException as refused:
            answer = type(refused).__name__
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answers:
        answer = answers.read().decode()
    os.waitpid(child, 0)
    return answer


def test_the_resolver_and_python_still_work() -> None:
    assert confined(lambda: socket.getaddrinfo(b"localhost", 80)) == "ok"
    assert confined(lambda: __import__("wave")) == "ok"


@needs_landlock
def test_the_operators_files_cannot_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    for attempt in (secret.read_text, lambda: os.listdir(tmp_path), lambda: os.listdir(Path.home())):
        assert confined(attempt) == "PermissionError"


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is kept from it by its mode")
def test_even_a_gate_run_by_root_cannot_read_the_shadow_file() -> None:
    assert confined(lambda: Path("/etc/shadow").read_text()) == "PermissionError"


@needs_landlock
def test_nothing_can_be_written_made_or_removed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("x")
    for attempt in (
        lambda: there.write_text("y"), lambda: (tmp_path / "new").touch(), lambda: (tmp_path / "new").mkdir(), there.unlink,
        lambda: there.rename(tmp_path / "moved"), lambda: os.truncate(there, 0),
    ):  # fmt: skip
        assert confined(attempt) == "PermissionError"
    assert there.read_text() == "x"


@needs_landlock
def test_no_program_can_be_started() -> None:
    assert confined(lambda: subprocess.run([sys.executable, "-c", "0"], check=True)) == "PermissionError"


@pytest.mark.skipif(landlock.abi() < landlock.NET_ABI, reason="this Landlock cannot refuse ports")
def test_no_port_can_be_bound() -> None:
    assert confined(lambda: socket.create_server(("127.0.0.1", 0))) == "PermissionError"


@needs_scopes
def test_no_signal_reaches_another_process() -> None:
    assert confined(lambda: os.kill(os.getppid(), 0)) == "PermissionError"


@needs_scopes
def test_no_abstract_socket_of_another_process_is_reached() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0claude-bottle-test-{os.getpid()}")
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            assert confined(lambda: client.connect(listener.getsockname())) == "PermissionError"


def test_a_confined_process_cannot_be_dumped_and_dies_with_its_parent() -> None:
    def check() -> None:
        libc = ctypes.CDLL(None)
        death = ctypes.c_int()
        libc.prctl(2, ctypes.byref(death), 0, 0, 0)
        if libc.prctl(3, 0, 0, 0, 0) != 0 or death.value != signal.SIGKILL or libc.prctl(39, 0, 0, 0, 0) != 1:
            raise AssertionError

    assert confined(check) == "ok"


def test_capabilities_are_gone() -> None:
    def check() -> None:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"] + (["CapBnd"] if os.geteuid() == 0 else [])
        if any(int(status[name], 16) for name in sets):
            raise AssertionError

    def before() -> None:
        confine._drop_capabilities(ctypes.CDLL(None, use_errno=True))
        check()

    child = os.fork()  # /proc cannot be read any more once Landlock is on
    if child == 0:
        try:
            before()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_only_the_named_descriptors_stay_open(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        kept = os.open(tmp_path, os.O_RDONLY)
        others = [os.open(tmp_path, os.O_RDONLY) for _ in range(5)]
        confine.close_descriptors([kept])
        os.fstat(kept)
        for other in others:
            try:
                os.fstat(other)
            except OSError:
                continue
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_every_protection_says_whether_it_is_on() -> None:
    found = confine.available()
    assert len(found) == 3
    assert all(one.state == "on" or one.why for one in found)
    if landlock.abi() >= landlock.SCOPE_ABI:
        assert {one.state for one in found} == {"on"}
