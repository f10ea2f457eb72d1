"""Who may speak to a keeper, and what bad manners cost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper import control, frames, session
from claude_bottle.keeper.client import Control
from claude_bottle.state.sockets import connect_socket
from tests.keeper.conftest import Kept, Launch
from tests.waiting import SECONDS, eventually, stopped


def connection(kept: Kept) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    connect_socket(sock, kept.order.paths.socket(kept.identity))
    sock.settimeout(SECONDS)
    return sock


def everything(sock: socket.socket) -> bytes:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def answers(kept: Kept) -> bool:
    with kept.control() as control:
        return control.status()["identity"] == kept.identity


def test_only_the_owner_may_open_the_socket(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    mode = os.stat(kept.order.paths.socket(kept.identity))
    assert stat.S_IMODE(mode.st_mode) == 0o600
    assert mode.st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="cannot run here: needs root and setpriv")
def test_a_peer_of_another_uid_is_refused(launch: Launch) -> None:
    """Even where it got past the modes: here the directories and the socket are opened to everybody."""
    kept = launch("sleep", "1000")
    path = kept.order.paths.socket(kept.identity)
    for place in (path.parents[2], path.parents[1], path.parent):
        place.chmod(0o755)
    path.chmod(0o666)
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(90); s.connect(sys.argv[1])\n"
        "try: print(repr(s.recv(100)))\n"
        "except ConnectionError: print(repr(b''))"
    )
    as_other = ["setpriv", "--reuid=61999", "--regid=61999", "--clear-groups", "/usr/bin/python3", "-c", program, str(path)]
    done = subprocess.run(as_other, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "b''", done.stderr
    assert answers(kept)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"J\xff\xff\xff\xff", b"J\0\0\0\2[]", b"J\0\0\0\1{", b"\0" * 100,
        frames.encode_json({"op": "no-such"}), frames.encode_json({}), frames.encode_json({"op": ["attach"]}),
        frames.encode_json({"op": "stop", "grace": "x"}), frames.encode_json({"op": "stop", "grace": -1}),
        frames.encode_json({"op": "exec", "argv": []}), frames.encode_json({"op": "exec", "argv": ["a\0b"]}),
        frames.encode_json({"op": "exec", "argv": "sh"}), frames.encode_json({"op": "exec", "argv": [1]}),
    ],
)  # fmt: skip
def test_a_peer_that_makes_no_sense_loses_its_connection_and_nothing_else(launch: Launch, bytes_: bytes) -> None:
    kept = launch("sleep", "1000")
    with connection(kept) as sock:
        sock.sendall(bytes_)
        assert b'"op":"error"' in everything(sock)
    assert answers(kept)


def test_nonsense_where_it_does_no_harm_is_passed_over(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    with connection(kept) as sock:
        for message in (
            {"op": "attach", "rows": "x", "cols": -4},
            {"op": "resize", "rows": 10**9, "cols": 1},
            {"op": "signal", "sig": 9},
        ):
            sock.sendall(frames.encode_json(message))
        sock.sendall(frames.encode(frames.INPUT, b"typed") + frames.encode(frames.ERRORS, b"?"))
        assert answers(kept)


def test_a_connection_has_one_purpose(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    with connection(kept) as sock:
        sock.sendall(frames.encode_json({"op": "attach"}) * 2)
        assert b"already in use" in everything(sock)


def test_too_many_connections_are_refused_with_a_reason_and_the_rest_served(launch: Launch) -> None:
    kept = launch("sleep", "1000")
    held = [connection(kept) for _ in range(60)]
    greetings = [sock.recv(1000) for sock in held]
    refused = [text for text in greetings if b"too many connections" in text]
    assert len(refused) >= 25
    assert all(b'"op":"hello"' in text for text in greetings if text not in refused)
    for sock in held:
        sock.close()
    assert answers(kept)


def test_a_place_given_up_is_there_for_the_next_client_at_once(launch: Launch) -> None:
    """Also when the keeper, busy until then, sees who comes before it sees who has gone."""
    kept = launch("sleep", "1000")
    held = [connection(kept) for _ in range(control.MAX_CONNECTIONS - 1)]  # one is the birth's
    assert all(b'"op":"hello"' in sock.recv(1000) for sock in held)
    os.kill(kept.up.keeper, signal.SIGSTOP)
    eventually(lambda: stopped(kept.up.keeper))
    with connection(kept) as late:
        for sock in held:
            sock.close()
        os.kill(kept.up.keeper, signal.SIGCONT)
        assert b'"op":"hello"' in late.recv(1000)


def test_a_client_that_does_not_read_is_dropped_and_the_agent_goes_on(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(control, "_FINISH_SECONDS", SECONDS)  # the rest of the agent's output comes first
    kept = launch("sh", "-c", "read go; head -c 8000000 /dev/zero | tr '\\0' x; exit 5")
    with kept.control() as slow:
        slow.send({"op": "attach", "rows": 24, "cols": 80})
        slow.send_frame(frames.encode(frames.INPUT, b"\r"))
        assert kept.birth.wait().code == 5  # although `slow` has read nothing
        with pytest.raises(BottleError, match="did not take"):
            slow.settled()


def test_a_newer_keeper_is_not_spoken_to(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = launch("sleep", "1000")
    monkeypatch.setattr(frames, "VERSION", 0)
    with pytest.raises(BottleError, match="newer claude-bottle"):
        kept.control()


def test_a_root_with_a_long_path_works(launch: Launch, root: object) -> None:
    from pathlib import Path

    from tests.keeper import orders

    deep = Path(str(root)) / ("d" * 60) / ("e" * 60)
    deep.parent.mkdir(parents=True, mode=0o700)
    kept = launch(order=orders.order(deep, "sleep", "1000"))
    assert answers(kept)
    assert isinstance(kept.control(), Control)
