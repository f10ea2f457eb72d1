"""The keeper's link to a gate behind a command: what the command is given, and how it ends, with a stand-in for it."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from claude_bottle.backend.base import GateCommand
from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper.gate_elsewhere import GateElsewhere
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from tests.waiting import eventually

SECRET = "s3cr3t-of-the-operator"
SPEC = CredentialSpec("api", "env", "API_SECRET", "API_KEY", "x-api-key")
CONFIG = GateConfig(
    "tester-000000", (), (BoundCredential(SPEC, "bottle-placeholder-0123456789", Secret(SECRET), ()),), nonce="00ff",
)  # fmt: skip
OBEDIENT = """
    import json, os, sys
    config = json.loads(sys.stdin.readline())
    fds = sorted(os.listdir("/proc/self/fd"))
    print(json.dumps({"op": "ca", "pem": None, "nonce": config["nonce"], "env": dict(os.environ), "fds": fds}), flush=True)
    print(json.dumps({"op": "ready"}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"op": "event", "heard": json.loads(line)["op"]}), flush=True)
        if json.loads(line)["op"] == "stop":
            break
"""


class Sure:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def link(source: str, sure: Sure, config: GateConfig = CONFIG) -> GateElsewhere:
    argv = (sys.executable, "-I", "-c", textwrap.dedent(source))
    return GateElsewhere(config, GateCommand(argv, {"PATH": "/usr/bin", "DOCKER_HOST": "unix:///x"}), sure)


def test_the_command_gets_the_configuration_and_nothing_of_the_keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATORS_OWN", "canary")
    held = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(held, True)
    sure = Sure()
    gate = link(OBEDIENT, sure)
    try:
        said = gate.expect("ca")
        assert said["nonce"] == "00ff"
        assert {"PATH", "DOCKER_HOST"} <= set(dict(said["env"])) <= {"PATH", "DOCKER_HOST", "LC_CTYPE"}  # type: ignore[call-overload]
        assert said["fds"] == ["0", "1", "2", "3"]  # 3: the listing itself
        for name in ("cmdline", "environ"):
            assert SECRET not in Path(f"/proc/{gate.pid}/{name}").read_text()
    finally:
        gate.end()
        os.close(held)
    assert sure.times == 0  # it left when its line ended


def test_it_is_told_after_its_configuration_and_hears_the_end() -> None:
    sure = Sure()
    gate = link(OBEDIENT, sure)
    gate.tell("halt")
    gate.expect("ready")
    assert [message["heard"] for message in gate.finish() if message["op"] == "event"] == ["halt", "stop"]
    gate.end()
    gate.end()
    assert sure.times == 0


def test_a_large_configuration_does_not_hold_up_the_boot() -> None:
    gate = link("import time; time.sleep(1000)", sure := Sure(), GateConfig("tester-000000", (), extra_ca="x" * (4 << 20)))
    os.kill(gate.pid, signal.SIGKILL)
    gate.end()
    assert sure.times == 1


@pytest.mark.parametrize(("source", "why"), [
    ("import sys; print('docker: no such image', file=sys.stderr); sys.exit(125)", "docker: no such image"),
    ("import sys; print('a\\033[31mb', file=sys.stderr)", "a"),
    ("pass", "it ended before 'ca'"),
])  # fmt: skip
def test_one_that_ends_at_once_is_told_with_its_last_words(source: str, why: str) -> None:
    gate = link(source, Sure())
    with pytest.raises(BottleError, match="gate did not start") as failed:
        gate.expect("ca")
    assert why in failed.value.why
    assert "\033" not in failed.value.why
    gate.end()


def test_a_command_that_is_not_there_is_told() -> None:
    gate = GateElsewhere(CONFIG, GateCommand(("/no/such/program",), {}), Sure())
    with pytest.raises(BottleError, match="gate did not start") as failed:
        gate.expect("ca")
    assert "/no/such/program" in failed.value.why
    gate.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_where_the_command_was_killed_the_backend_makes_sure(number: int) -> None:
    sure = Sure()
    gate = link(OBEDIENT, sure)
    gate.expect("ca")
    os.kill(gate.pid, number)
    eventually(lambda: gate.messages() is not None and not gate.up)
    gate.end()
    assert sure.times == 1


def test_one_that_must_not_go_on_is_ended_at_once_and_made_sure_of() -> None:
    sure = Sure()
    gate = link(OBEDIENT, sure)
    gate.expect("ca")
    gate.kill()
    assert sure.times == 1
    gate.end()


def test_the_line_holds_nothing_but_json() -> None:
    line = CONFIG.to_wire()
    assert json.loads(line)["credentials"][0]["secret"] == SECRET  # here, and nowhere else
