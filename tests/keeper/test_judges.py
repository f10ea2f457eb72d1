"""Judges of pushes as the keeper starts them: confined before they read anything, one at a time, gone with whoever asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.gate import landlock
from claude_bottle.keeper import judges
from claude_bottle.model import judging
from tests.bench_of_judges import Bench
from tests.waiting import SECONDS, ended, eventually

ROOT = Path(__file__).resolve().parents[2]
# Shuts itself in as a judge does, then tries what a judge that is taken over would.
PROBE = f"""
import sys, json; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from claude_bottle.keeper.push_judge import shut_in
said = json.loads(sys.argv[1])
place = Path(said["place"])
shut_in(place, [sys.executable])
import os, socket, subprocess
def tried(act):
    try:
        act()
        return "done"
    except OSError as problem:
        return problem.strerror or type(problem).__name__
def run(path):
    return lambda: subprocess.run([path], check=True, stdout=subprocess.DEVNULL)
program = place / "program"
program.write_text("#!/bin/sh\\n")
program.chmod(0o755)
def connect(family, address):
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(address)
print(json.dumps({{
    "writes in its place": tried(lambda: (place / "x").write_text("x")),
    "runs a system program": tried(run("/usr/bin/true")),
    "reads the secret": tried(lambda: open(said["secret"]).read()),
    "lists the secret's place": tried(lambda: os.listdir(os.path.dirname(said["secret"]))),
    "writes beside its place": tried(lambda: open(said["beside"], "w")),
    "runs what it wrote": tried(run(str(program))),
    "connects to this host": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", said["port"]))),
    "connects to an abstract socket": tried(lambda: connect(socket.AF_UNIX, said["abstract"].replace("@", "\\0", 1))),
    "signals its parent": tried(lambda: os.kill(os.getppid(), 0)),
    "changes its mode": tried(lambda: os.chmod(said["secret"], 0o777)),
    "variables": sorted(os.environ),
    "descriptors": [number for number in range(3, 100) if tried(lambda: os.fstat(number)) == "done"],
}}))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "judges")
    yield made
    made.close()


def ask(bench: Bench) -> tuple[bytes, socket.socket | None]:
    bench.line.send(b"1 judge")
    said, descriptors, _, _ = socket.recv_fds(bench.line, 1024, 1)
    return said, socket.socket(fileno=descriptors[0]) if descriptors else None


@pytest.mark.skipif(landlock.abi() < landlock.SCOPE_ABI, reason="cannot run here: this kernel's Landlock is too old")
def test_case_86_whoever_judges_sees_reads_runs_and_reaches_nothing_of_the_operators(tmp_path: Path) -> None:
    place, private = tmp_path / "place", tmp_path / "private"
    place.mkdir()
    private.mkdir()
    (private / "secret").write_text("canary")
    abstract = f"@claude-bottle-test-{os.urandom(6).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unseen:
        unseen.bind(abstract.replace("@", "\0", 1))
        unseen.listen()
        said = {"place": str(place), "secret": str(private / "secret"), "beside": str(tmp_path / "beside"),
                "port": server.getsockname()[1], "abstract": abstract}  # fmt: skip
        argv = [sys.executable, "-I", "-c", PROBE, json.dumps(said)]
        env = {"PATH": "/usr/bin:/bin"}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("variables") in (["PATH"], ["LC_CTYPE", "PATH"])
    assert found.pop("descriptors") == []
    assert [name for name, what in found.items() if what == "done"] == ["writes in its place", "runs a system program"]
    assert not (tmp_path / "beside").exists()


def test_one_judges_while_the_others_wait(bench: Bench) -> None:
    first = ask(bench)[1]
    bench.line.send(b"1 judge")
    bench.line.settimeout(0.2)
    with pytest.raises(TimeoutError):
        bench.line.recv(10)
    bench.line.settimeout(SECONDS)
    assert first is not None
    first.close()  # the first one has nobody to judge for
    said, descriptors, _, _ = socket.recv_fds(bench.line, 1024, 1)
    assert said == b"1 "
    os.close(descriptors[0])


def test_a_gate_that_asks_for_too_many_is_told_so(bench: Bench) -> None:
    sock = ask(bench)[1]
    for _ in range(judges.MAX_WAITING + 1):
        bench.line.send(b"1 judge")
    assert bench.line.recv(100) == b"1 too many pushes at once"
    assert sock is not None
    sock.close()


def test_a_judge_that_is_told_nonsense_is_gone_and_the_keeper_knows(bench: Bench) -> None:
    sock = ask(bench)[1]
    assert sock is not None
    with sock:
        sock.sendall(b"not a frame at all")
        sock.settimeout(SECONDS)
        assert sock.recv(100) == b""
    eventually(lambda: bench.faults)
    assert bench.faults[0]["what"] == "the judge of a push failed"
    assert "not a frame" not in str(bench.faults)


def test_a_judge_that_takes_too_long_is_killed_with_what_it_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(judges, "SECONDS", 2.0)
    code = f"import os, time; os.fork(); open({str(tmp_path)!r} + f'/pid-{{os.getpid()}}', 'w'); time.sleep(600)"
    monkeypatch.setattr(judges, "_START", code)
    sock = ask(bench)[1]
    assert sock is not None
    with sock:
        eventually(lambda: bench.faults)
    found = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    assert all(ended(pid) for pid in found)


def test_nothing_of_a_judgement_is_left_once_the_bottle_ends(tmp_path: Path) -> None:
    made = Bench(tmp_path / "judges")
    sock = ask(made)[1]
    assert sock is not None
    job = {"commands": [], "tips": [], "grant": {"repositories": ["a"]}, "repository": "x", "approved": False,
           "let_through": []}  # fmt: skip
    sock.sendall(judging.saying(judging.JOB, **job))
    sock.settimeout(SECONDS)
    assert sock.recv(5)[:1] == judging.GO
    assert (tmp_path / "judges").is_dir()
    made.close()
    sock.close()
    assert not (tmp_path / "judges").exists()
