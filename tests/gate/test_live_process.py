"""A whole, confined gate process whose bottle is granted more while it runs: a port that nobody listened on before."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.gate import control
from claude_bottle.gate.config import GateConfig, Upstream
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, Recorded, Rig
from tests.gate.test_process import NONCE, Process
from tests.waiting import SECONDS

# Runs in the bottle's network: opens a listener there and sends it out, waits, then connects by name.
BOTTLE = f"""
import os, socket, struct
out = socket.socket(fileno=int(os.environ["OUT"]))
with socket.create_server(("0.0.0.0", 5432)) as late:
    socket.send_fds(out, [b"l"], [late.fileno()])
    out.recv(1)
query = struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"".join(
    bytes([len(l)]) + l.encode() for l in "{HOST}".split(".")) + bytes(1) + struct.pack(">HH", 1, 1)
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.sendto(query, ("127.0.0.1", 53))
address = socket.inet_ntoa(resolver.recv(512)[-4:])
client = socket.create_connection((address, 5432), {SECONDS})
client.sendall(b"select 1")
out.sendall(client.recv(100))
out.recv(1)
try:
    out.sendall(client.recv(100) or b"ended")
except ConnectionError:
    out.sendall(b"ended")
"""


def echo(connection: Recorded) -> None:
    while data := connection.receive():
        connection.sock.sendall(data)


@pytest.fixture
def gate(rig: Rig) -> Iterator[Process]:
    upstreams = {(HOST, 5432): Upstream("127.0.0.1", rig.server(echo, tls=False).port)}
    process = Process(GateConfig("test-abc123", (), (), upstreams, "", NONCE))
    yield process
    process.close()


def test_a_port_granted_late_is_reached_by_its_name_and_cut_when_it_is_revoked(gate: Process) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    bottle = subprocess.Popen(
        [sys.executable, "-m", "tests.gate.netns", str(gate.registration.fileno()), NONCE, "[]"],
        stdin=subprocess.PIPE, pass_fds=[gate.registration.fileno(), theirs.fileno()], cwd=Path(__file__).parents[2],
        env={"OUT": str(theirs.fileno()), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    theirs.close()
    assert bottle.stdin is not None
    bottle.stdin.write(BOTTLE.encode())
    bottle.stdin.close()
    _, (late, *_), _, _ = socket.recv_fds(ours, 1, 1)
    rule = Rule(HOST, port=5432, tls="tunnel", origin="grant g-1")
    with socket.socket(fileno=late) as listener:
        socket.send_fds(gate.keeper, [control.encode("listener", name="port-5432")], [listener.fileno()])
    gate.keeper.sendall(control.encode("policy", revision=1, rules=[rule.to_dict()]))
    assert gate.expect("policy_set")["revision"] == 1
    ours.sendall(b"g")
    assert ours.recv(100) == b"select 1"
    gate.keeper.sendall(control.encode("policy", revision=2, rules=[]))
    assert gate.expect("policy_set")["revision"] == 2
    ours.sendall(b"g")
    assert ours.recv(100) == b"ended"
    assert bottle.wait(SECONDS) == 0


def test_a_listener_of_another_network_is_not_taken(gate: Process) -> None:
    gate.bottle("print('{}')")
    gate.expect("ready")
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        port = ours.getsockname()[1]
        socket.send_fds(gate.keeper, [control.encode("listener", name=f"port-{port}")], [ours.fileno()])
        assert "the host's network" in str(gate.expect("fault")["what"])
