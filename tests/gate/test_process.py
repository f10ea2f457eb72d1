"""A whole gate process, as the keeper forks it, serving a real network namespace."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from claude_bottle.gate import control
from claude_bottle.gate.config import GateConfig, Upstream
from claude_bottle.gate.process import serve
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, PLACEHOLDER, SECRET, Rig, bound
from tests.waiting import SECONDS, ended

NONCE = "5f" * 16


class Process:
    """A forked gate and the keeper's end of its sockets."""

    def __init__(self, config: GateConfig) -> None:
        self.keeper, theirs = socket.socketpair()
        self.registration, gate_end = socket.socketpair()
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                serve(theirs, gate_end, config)
            finally:
                os._exit(99)
        theirs.close()
        gate_end.close()
        self.decoder = control.Decoder()
        self.messages: list[dict[str, object]] = []

    def expect(self, op: str) -> dict[str, object]:
        deadline = time.monotonic() + SECONDS
        while True:
            for message in self.messages:
                if message["op"] == op:
                    self.messages.remove(message)
                    return message
            if not select.select([self.keeper], [], [], deadline - time.monotonic())[0]:
                raise AssertionError(f"no {op}: {self.messages}")
            data = self.keeper.recv(65536)
            if not data:
                raise AssertionError(f"the gate ended before {op}: {self.messages}")
            self.messages += self.decoder.feed(data)

    def bottle(self, probe: str, ports: tuple[int, ...] = ()) -> dict[str, object]:
        """What `probe` printed as JSON, run where the bottle's listeners are."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.gate.netns", str(self.registration.fileno()), NONCE, json.dumps(ports)],
            input=probe, capture_output=True, text=True, timeout=SECONDS, pass_fds=[self.registration.fileno()],
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def ended(self) -> bool:
        """Whether it ends."""
        if ended(self.pid):
            os.waitpid(self.pid, 0)
            self.pid = 0
        return not self.pid

    def close(self) -> None:
        self.keeper.close()
        self.registration.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.close()


def config(rig: Rig, upstream_ca: trustme.CA, tmp_path: Path, *rules: Rule) -> GateConfig:
    """HOST:443 and HOST:80 lead to recording servers with the test CA; the test credential is bound to HOST:443."""
    upstreams = {
        (HOST, 443): Upstream("127.0.0.1", rig.server().port, upstream_ca.cert_pem.bytes().decode()),
        (HOST, 80): Upstream("127.0.0.1", rig.server(tls=False).port),
    }
    return GateConfig("test-abc123", rules, (bound((HOST, 443)),), upstreams, "", NONCE)


def test_a_program_that_knows_no_proxy_reaches_what_is_granted_and_nothing_else(
    rig: Rig, upstream_ca: trustme.CA, tmp_path: Path, started: list[Process]
) -> None:
    rules = (Rule(HOST, credential="api", paths=("/v1/*",)), Rule(HOST, port=80))
    gate = Process(config(rig, upstream_ca, tmp_path, *rules))
    started.append(gate)
    pem = gate.expect("ca")["pem"]
    probe = f"""
import http.client, json, socket, ssl, struct
def ask(name, kind):
    query = struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"".join(
        bytes([len(l)]) + l.encode() for l in name.split(".")) + bytes(1) + struct.pack(">HH", kind, 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout({SECONDS})
    s.sendto(query, ("127.0.0.1", 53)); answer = s.recv(4096)
    return answer[3] & 15, socket.inet_ntoa(answer[-4:]) if answer[7] else None
found = {{"granted": ask("{HOST}", 1), "six": ask("{HOST}", 28), "denied": ask("data.attacker.test", 1)}}
address = found["granted"][1]
class Https(http.client.HTTPSConnection):
    def connect(self):
        raw = socket.create_connection((address, self.port), {SECONDS})
        self.sock = self._context.wrap_socket(raw, server_hostname=self.host)
trust = ssl.create_default_context(cadata={pem!r})
def request(connection, path, headers={{}}):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
secure = Https("{HOST}", context=trust, timeout={SECONDS})
found["secure"] = request(secure, "/v1/x", {{"x-api-key": "{PLACEHOLDER}"}})
found["path"] = request(secure, "/v2/x")[0]
plain = http.client.HTTPConnection(address, 80, timeout={SECONDS})
found["plain"] = request(plain, "/", {{"Host": "{HOST}"}})
inner = http.client.HTTPConnection("198.18.0.1", 80, timeout={SECONDS})
found["policy"] = request(inner, "/policy", {{"Host": "bottle.internal"}})
try:
    socket.create_connection(("1.1.1.1", 443), 5)
    found["outside"] = "connected"
except OSError as e:
    found["outside"] = e.errno
print(json.dumps(found))
"""
    found = gate.bottle(probe)
    assert found["granted"] == [0, "198.18.0.2"]
    assert (found["six"], found["denied"]) == ([0, None], [3, None])
    assert found["secure"] == [200, "hello"]
    assert found["path"] == 403
    assert found["plain"] == [200, "hello"]
    assert found["policy"][0] == 200 and HOST in found["policy"][1]  # type: ignore[index]
    assert found["outside"] == 101  # ENETUNREACH
    gate.expect("listening")
    gate.expect("ready")
    records = [gate.expect("event")["event"] for _ in range(6)]
    assert SECRET not in json.dumps(records)


def test_a_gate_tells_its_certificate_before_it_has_listeners_and_is_ready_after(
    rig: Rig, upstream_ca: trustme.CA, tmp_path: Path, started: list[Process]
) -> None:
    gate = Process(config(rig, upstream_ca, tmp_path, Rule(HOST)))
    started.append(gate)
    assert "BEGIN CERTIFICATE" in str(gate.expect("ca")["pem"])
    assert gate.messages == []
    gate.bottle("print('{}')")
    gate.expect("listening")
    gate.expect("ready")


@pytest.mark.parametrize("rules", [(), (Rule(HOST, tls="tunnel"),)])
def test_every_bottle_has_a_certificate_for_what_may_be_granted_later(
    started: list[Process], rules: tuple[Rule, ...]
) -> None:
    gate = Process(GateConfig("test-abc123", rules, nonce=NONCE))
    started.append(gate)
    assert str(gate.expect("ca")["pem"]).startswith("-----BEGIN CERTIFICATE-----")


def test_a_wrong_nonce_ends_the_gate(started: list[Process]) -> None:
    gate = Process(GateConfig("test-abc123", (), nonce="other"))
    started.append(gate)
    found = subprocess.run(
        [sys.executable, "-m", "tests.gate.netns", str(gate.registration.fileno()), NONCE, "[]"],
        input="", capture_output=True, text=True, timeout=SECONDS, pass_fds=[gate.registration.fileno()],
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert found.returncode != 0
    assert "nonce" in str(gate.expect("fault"))
    assert gate.ended()


def test_a_gate_ends_with_its_keeper(rig: Rig, upstream_ca: trustme.CA, tmp_path: Path, started: list[Process]) -> None:
    gate = Process(config(rig, upstream_ca, tmp_path, Rule(HOST)))
    started.append(gate)
    gate.bottle("print('{}')")
    gate.expect("ready")
    gate.keeper.close()
    assert gate.ended()


def test_a_running_gate_has_no_capabilities_no_new_privileges_and_only_its_own_descriptors(
    rig: Rig, upstream_ca: trustme.CA, tmp_path: Path, started: list[Process]
) -> None:
    read_end, write_end = os.pipe()  # something of the keeper's
    gate = Process(config(rig, upstream_ca, tmp_path, Rule(HOST)))
    started.append(gate)
    gate.bottle("print('{}')")
    gate.expect("ready")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{gate.pid}/status").read_text().splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if os.geteuid() == 0 else [])):
        assert int(status[name], 16) == 0, name
    if os.geteuid() == 0:  # nobody else may look at a process that cannot be dumped
        links = {os.readlink(f"/proc/{gate.pid}/fd/{name}") for name in os.listdir(f"/proc/{gate.pid}/fd")}
        assert os.readlink(f"/proc/self/fd/{read_end}") not in links
    os.close(read_end)
    os.close(write_end)
