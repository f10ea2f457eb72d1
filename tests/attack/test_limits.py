"""Attack cases on what a bottle may use (threats.md §2, 115–120; I16): the limit hurts the agent, and nobody else."""

from __future__ import annotations

import json

import pytest

from tests.attack.operators import SMALL_DISK, SMALL_MEMORY, SMALL_PIDS, Bottle, Operator, titles
from tests.attack.probes import KERNEL, NETWORK, SHOW, judged
from tests.waiting import eventually

# Forks until it is refused; those that it has begotten sleep on.
BOMB = KERNEL + f"""
import signal
forked, refusal = 0, ""
while forked < {4 * SMALL_PIDS}:
    try:
        child = os.fork()
    except OSError as problem:
        refusal = errno.errorcode[problem.errno]
        break
    if child == 0:
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(s, signal.SIG_IGN)
        while True:
            signal.pause()
    forked += 1
print(json.dumps([forked, refusal]))
"""
HOG = "hoard = []\nwhile True: hoard.append(bytearray(b'x') * (16 << 20)); print(len(hoard) * (16 << 20), flush=True)"


@pytest.mark.threat(115)
def test_case_115_a_fork_bomb_meets_its_limit_and_stop_still_works(operator: Operator, bottle: Bottle) -> None:
    with operator.start("small") as small:
        forked, refusal = small.python(BOMB)
        assert (forked < SMALL_PIDS, refusal) == (True, "EAGAIN")
        assert bottle.exec("echo", "fine").stdout == "fine\n"
        operator.do("stop", small.identity)
    eventually(lambda: not titles(small.identity))


@pytest.mark.threat(116)
def test_case_116_who_hoards_memory_or_fills_a_tmpfs_is_ended_and_nobody_else(operator: Operator, bottle: Bottle) -> None:
    """What lies in a tmpfs counts as the bottle's memory, or each is small; either way it ends within the bottle's limit."""
    with operator.start("small") as small:
        hog = small.exec("/usr/bin/python3", "-I", "-c", HOG)
        assert hog.returncode != 0
        assert int(hog.stdout.split()[-1]) <= SMALL_MEMORY
        assert small.exec("echo", "fine").stdout == "fine\n"
        places = "/tmp /var/tmp /dev/shm"
        fill = f"for place in {places} /run; do cat /dev/zero > $place/full; done; du -scb {places}"
        filled = small.exec("/bin/sh", "-c", fill)
        if filled.returncode == 0:
            assert int(filled.stdout.splitlines()[-1].split()[0]) <= SMALL_MEMORY
        assert bottle.exec("echo", "fine").stdout == "fine\n"
    eventually(lambda: not titles(small.identity))  # where it took the first process along, it settles by itself


# More than it may, in part where its owner cannot look.
FILL = f"""
mkdir -p ~/d/hidden
head -c {SMALL_DISK * 3 // 4} /dev/zero > ~/d/hidden/big
chmod 0 ~/d/hidden ~/d ~
head -c {SMALL_DISK * 3 // 4} /dev/zero > /workspace/big
exec sleep infinity
"""


@pytest.mark.threat(117)
def test_case_117_who_fills_the_disk_is_stopped_and_kept_and_nobody_else_is(operator: Operator, bottle: Bottle) -> None:
    with operator.start("narrow", "/bin/sh", "-c", FILL) as narrow:
        eventually(lambda: not titles(narrow.identity))
        record = json.loads((operator.state(narrow.identity) / "record.json").read_text())
    assert record["status"] == "preserved"
    assert f"its disk was full (disk {SMALL_DISK >> 20}m)" in record["preserved"]
    # All that it had written when somebody looked, which may have been in the middle of it.
    assert SMALL_DISK // 5 < (operator.state(narrow.identity) / "workspace/big").stat().st_size <= SMALL_DISK * 3 // 4
    assert bottle.exec("echo", "fine").stdout == "fine\n"


# Each holds a connection of another kind: half a head, half a TLS hello, a tunnel nobody speaks in, answers nobody reads.
FLOOD = NETWORK + """
import signal, time
resource = __import__("resource")
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
begun = [b"GET http://" + PLAIN.encode() + b"/ HTTP/1.1\\r\\nX-Slow: ", b"\\x16\\x03\\x01\\x02\\x00\\x01", b"",
         b"GET http://bottle.internal/policy HTTP/1.1\\r\\nHost: bottle.internal\\r\\n\\r\\n" * 200]
held, end = [], os.pipe()
if os.fork() == 0:
    for number in range(1500):
        try:
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(PROXY if number % 4 != 1 else (API, 443))
            held.append(s)
        except OSError:
            break
    for number, s in enumerate(held):
        try:
            s.send(begun[number % 4])
        except OSError:
            pass
    os.write(end[1], b"%d" % len(held))
    signal.pause()
print(os.read(end[0], 10).decode())
"""


@pytest.mark.threat(120)
def test_case_120_a_flood_of_refusals_is_counted_and_recorded_in_part(operator: Operator) -> None:
    """What is decided otherwise meanwhile is recorded as ever."""
    flood = f"""{NETWORK}
answered = 0
with socket.create_connection(PROXY) as s:
    for number in range(30):
        s.sendall(request(f"http://evil.test/{{number}}", EVIL, close=False) * 100)
        data = b""
        while data.count(b"HTTP/1.1 403") < 100 and (piece := s.recv(65536)):
            data += piece
        answered += data.count(b"HTTP/1.1 403")
raw(request(f"http://{{PLAIN}}/granted", PLAIN))
print(answered)
"""
    with operator.start() as flooding:
        assert flooding.python(flood) == 3000
        operator.do("stop", flooding.identity, "--keep")  # the gate tells what it has only counted so far
        lines = [line["data"] for line in operator.journal(flooding.identity) if line["kind"] in ("decision", "note")]
    counted = sum(line["reasons"].get("host_not_granted", 0) for line in lines if "reasons" in line)
    refused = sum(line.get("allow") is False for line in lines)
    assert counted + refused == 3000
    assert counted > 0
    assert refused < 2500
    assert [line["path"] for line in lines if line.get("allow")] == ["/granted"]


@pytest.mark.threat(118)
def test_case_118_a_flood_of_connections_costs_no_other_bottle_its_answers(operator: Operator, bottle: Bottle) -> None:
    source = f"{NETWORK}attempt('beside', lambda: raw(request('/', PLAIN), (PLAIN, 80))){SHOW}"
    with operator.start() as flooding:
        assert flooding.python(FLOOD) > 600
        assert judged(bottle.python(source)) == {"beside": ["200"]}
        assert flooding.exec("echo", "fine").stdout == "fine\n"
