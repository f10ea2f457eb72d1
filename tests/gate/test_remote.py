"""The gate's container from inside: its first process and its gate, run as plain processes with pipes for stdio."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.gate import control, late, remote
from claude_bottle.gate.config import GateConfig, Upstream
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.policy import Rule
from tests.waiting import SECONDS, ended, eventually

NONCE, SECRET = "00ff", "s3cr3t-of-the-operator"
SPEC = CredentialSpec("api", "env", "API_SECRET", "API_KEY", "x-api-key")
CONFIG = GateConfig(
    "test-abc123", (Rule("api.example.com", paths=("/v1/*",), credential="api"),),
    (BoundCredential(SPEC, "bottle-placeholder-0123456789", Secret(SECRET), (("api.example.com", 443),)),), nonce=NONCE,
)  # fmt: skip
START = "import sys; from claude_bottle.gate import remote; remote.SOCKET = sys.argv[1]; remote.main()"
LINE = "from claude_bottle.gate import remote; remote.main()"


# In the bottle's network: whoever comes to the door, with what, and what each hears.
VISITS = """
import json, os, socket, time
def come(*names, nonce):
    listeners = [socket.create_server(("0.0.0.0", int(name[5:]))) for name in names]
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(DOOR)
        said = json.dumps({"nonce": nonce, "listeners": names}).encode() + b"\\n"
        socket.send_fds(gate, [said], [one.fileno() for one in listeners])
        try:
            heard = gate.recv(1).decode()
        except ConnectionResetError:
            heard = ""
    for one in listeners:
        one.close()
    return heard
while not os.path.exists(DOOR):
    time.sleep(0.01)
print([come("port-6379", nonce="wrong"), come("port-6380", nonce="n"), come("port-6379", "port-6380", nonce="n"),
       come("port-6379", nonce="n")])
"""


class Container:
    """What would be one."""

    def __init__(self, place: Path, stdout: int = subprocess.PIPE) -> None:
        self.door = str(place / "gate.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, self.door], stdin=subprocess.PIPE, stdout=stdout,
            cwd=Path(__file__).parents[2], env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        self.decoder, self.messages = control.Decoder(), list[dict[str, object]]()

    def tell(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def expect(self, op: str) -> dict[str, object]:
        assert self.process.stdout
        while not any(message["op"] == op for message in self.messages):
            assert select.select([self.process.stdout], [], [], SECONDS)[0], self.messages
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"it ended without {op}: {self.messages}"
            self.messages += self.decoder.feed(data)
        return next(message for message in self.messages if message["op"] == op)

    def connect(self) -> socket.socket:
        eventually(lambda: os.path.exists(self.door))
        visitor = socket.socket(socket.AF_UNIX)
        visitor.settimeout(SECONDS)
        visitor.connect(self.door)
        return visitor

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    made.close()


def hand_over(visitor: socket.socket, nonce: str) -> bytes:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        message = json.dumps({"nonce": nonce, "listeners": ["https"]}).encode() + b"\n"
        socket.send_fds(visitor, [message], [listener.fileno()])
        return visitor.recv(10)


def test_it_makes_a_certificate_and_waits_for_one_visitor(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    assert str(container.expect("ca")["pem"]).startswith("-----BEGIN CERTIFICATE-----")
    with container.connect():
        eventually(lambda: not os.path.exists(container.door))  # and for no other


def in_a_bottle(container: Container, program: str) -> subprocess.Popen[str]:
    """A bottle's network whose listeners the gate has, and a program that runs there."""
    with container.connect() as visitor:
        visitor.setblocking(True)
        command = [sys.executable, "-m", "tests.gate.netns", str(visitor.fileno()), NONCE, "[5432]"]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   pass_fds=[visitor.fileno()], cwd=Path(__file__).parents[2])  # fmt: skip
    assert started.stdin
    started.stdin.write(f"DOOR = {container.door!r}\n{program}")
    started.stdin.close()
    started.stdin = None
    return started


def policy(revision: int, *rules: Rule) -> bytes:
    return control.encode("policy", revision=revision, rules=[rule.to_dict() for rule in rules])


@pytest.mark.threat(17)
def test_a_listener_that_was_announced_is_taken_later_from_whoever_knows_the_nonce_alone(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    with in_a_bottle(container, VISITS) as bottle:
        container.expect("ready")
        eventually(lambda: not os.path.exists(container.door))
        wanted = Rule("db.example.com", port=6379, tls="tunnel", origin="grant g-1")
        container.tell(policy(3, wanted))
        assert container.expect("policy_refused")["why"] == "nothing in the bottle listens on port 6379"
        container.tell(control.encode("door", name="port-6379", nonce="n"))
        assert bottle.communicate(timeout=SECONDS)[0].strip() == "['', '', '', 'k']"
    container.tell(policy(4, wanted))
    assert container.expect("policy_set")["revision"] == 4
    eventually(lambda: not os.path.exists(container.door))


@pytest.mark.threat(17)
def test_a_listener_of_another_network_than_the_bottles_is_not_taken_later_either(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    with in_a_bottle(container, "") as bottle:
        container.expect("ready")
        eventually(lambda: not os.path.exists(container.door))
        with socket.create_server(("127.0.0.1", 0)) as ours:
            name = f"port-{ours.getsockname()[1]}"
            container.tell(control.encode("door", name=name, nonce="n"))
            with container.connect() as visitor:
                message = json.dumps({"nonce": "n", "listeners": [name]}).encode() + b"\n"
                socket.send_fds(visitor, [message], [ours.fileno()])
                assert visitor.recv(1) == b""
        assert bottle.wait(SECONDS) == 0


def test_what_the_gate_wishes_for_goes_up_and_a_line_comes_down_by_descriptor() -> None:
    asking, gate = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper, up = os.pipe()
    lines = late.Lines(asking, late.Upward(up))
    gate.settimeout(SECONDS)
    gate.send(b"7 judge\xff")
    (wish,) = control.Decoder().feed(os.read(keeper, 4096))
    assert wish == {"op": "wish", "said": "7 judge\xff"}
    lines.answered({"said": "7 no", "line": None})
    assert socket.recv_fds(gate, 100, 4)[:2] == (b"7 no", [])

    judge, its_end = socket.socketpair()
    judge.settimeout(SECONDS)
    carrier = subprocess.Popen([sys.executable, "-c", LINE, "line", "a-name"], stdin=its_end, stdout=its_end,
                               cwd=Path(__file__).parents[2])  # fmt: skip
    its_end.close()
    lines.answered({"said": "8 ", "line": "a-name"})
    said, (descriptor,), _, _ = socket.recv_fds(gate, 100, 4)
    assert said == b"8 "
    with socket.socket(fileno=descriptor) as line, judge:
        line.settimeout(SECONDS)
        content = bytes(range(256)) * 4096
        threading.Thread(target=line.sendall, args=(content,), daemon=True).start()
        with judge.makefile("rb") as heard:
            assert heard.read(len(content)) == content
        judge.sendall(b"yes")
        judge.shutdown(socket.SHUT_WR)
        assert (line.recv(10), line.recv(10)) == (b"yes", b"")
    assert carrier.wait(SECONDS) == 0
    os.close(up)
    os.close(keeper)


@pytest.mark.parametrize("nonce", ["", "00fe", NONCE + "0"])
def test_a_visitor_without_the_nonce_ends_it(container: Container, nonce: str) -> None:
    container.tell(CONFIG.to_wire())
    with container.connect() as visitor:
        assert hand_over(visitor, nonce) == b""
    assert "wrong nonce" in str(container.expect("fault"))
    assert container.process.wait(SECONDS) != 0


def test_the_gates_last_words_are_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    junk = 0
    while True:
        try:
            junk += os.write(writing, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    container = Container(tmp_path, stdout=writing)
    os.close(writing)
    try:
        container.tell(CONFIG.to_wire())
        with container.connect() as visitor:
            assert hand_over(visitor, "00fe") == b""
        eventually(lambda: not container.children())  # the gate has ended, and nobody has read a word of it
        with open(reading, "rb") as words:
            assert b"wrong nonce" in words.read()[junk:]
        assert container.process.wait(SECONDS) != 0
    finally:
        container.close()


def test_a_listener_of_its_own_network_is_refused(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    with container.connect() as visitor:
        assert hand_over(visitor, NONCE) == b""  # this test's network is the gate's, too
    assert container.expect("fault")


def test_a_visitor_that_says_nothing_ends_it(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    container.connect().close()
    assert container.expect("fault")


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"not json\n", b"[1]\n"])
def test_without_a_configuration_it_ends_and_quotes_nothing(container: Container, line: bytes) -> None:
    container.tell(line)
    assert container.expect("fault")["what"] == "not a gate's configuration"
    assert container.process.wait(SECONDS) != 0


def test_its_end_of_stdin_is_its_end(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    container.expect("ca")
    (gate,) = container.children()
    assert container.process.stdin
    container.process.stdin.close()
    assert container.process.wait(SECONDS) == 0
    assert ended(gate)  # whoever collects it


def test_it_ends_with_its_gate(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    container.expect("ca")
    (gate,) = container.children()
    os.kill(gate, signal.SIGKILL)
    assert container.process.wait(SECONDS) != 0


def test_the_secret_is_in_no_argument_or_variable_of_either_process(container: Container) -> None:
    container.tell(CONFIG.to_wire())
    container.expect("ca")
    for pid in (container.process.pid, *container.children()):
        for name in ("cmdline", "environ"):
            assert SECRET not in Path(f"/proc/{pid}/{name}").read_text()


def test_what_follows_the_first_line_is_left_for_the_gate() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b'{"a": 1}\n{"op": "halt"}\n{"op"')
        assert remote.read_line(theirs) == b'{"a": 1}\n'
        assert theirs.recv(100) == b'{"op": "halt"}\n{"op"'
        ours.sendall(b"no end")
        ours.close()
        with pytest.raises(ValueError, match="told nothing"):
            remote.read_line(theirs)


def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_WIRE", 1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(bytes(2000))
        with pytest.raises(ValueError, match="too much"):
            remote.read_line(theirs)


@pytest.mark.parametrize(("host", "seen"), [
    ("127.0.0.1", remote.ENGINES_HOST), ("127.9.9.9", remote.ENGINES_HOST), ("::1", remote.ENGINES_HOST),
    ("localhost", remote.ENGINES_HOST), ("10.0.0.5", "10.0.0.5"), ("mirror.example", "mirror.example"),
])  # fmt: skip
def test_the_operators_loopback_is_looked_for_on_the_engines_host(host: str, seen: str) -> None:
    found = remote.seen_from_here({("api.example.com", 443): Upstream(host, 8443, "pem")})
    assert found == {("api.example.com", 443): Upstream(seen, 8443, "pem")}


def test_what_an_earlier_gate_left_is_not_in_the_way(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.sock")
    remote.listen(path).close()
    with remote.listen(path):
        assert os.path.exists(path)
