"""What a container's first process says and hears is JSON, whichever halves of the standard library it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import claude_bottle.backend.docker as package

SAMPLE = {"op": "spawn", "n": 3, "tty": True, "none": None, "x": -1.5, "argv": ["é", "\udc80", '"\\\n'], "in": {"a": []}}
# Beside nothing of ours, as in a container; {0} is what its interpreter does not have.
PROGRAM = """
import sys
sys.modules.update(dict.fromkeys({0!r}))
sys.path.insert(0, {1!r})
import messages
ours, theirs = messages.socket.socketpair(messages.socket.AF_UNIX, messages.socket.SOCK_SEQPACKET)
messages.say(ours, [0, 1], **messages.loads(sys.stdin.buffer.read()))
heard, fds = messages.hear(theirs)
sys.stdout.buffer.write(messages.dumps(dict(heard, fds=len(fds), loaded=sorted(sys.modules))))
"""


def spoken(lacking: tuple[str, ...]) -> dict[str, object]:
    program = PROGRAM.format(lacking, str(Path(package.__file__).parent))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], input=json.dumps(SAMPLE).encode(), capture_output=True, check=True
    )
    heard: dict[str, object] = json.loads(done.stdout)
    return heard


@pytest.mark.parametrize("lacking", [(), ("_json",)], ids=["CPython", "another interpreter"])
def test_a_message_and_its_descriptors_arrive_as_they_were_sent(lacking: tuple[str, ...]) -> None:
    heard = spoken(lacking)
    assert {name: heard[name] for name in SAMPLE} == SAMPLE
    assert heard["fds"] == 2


def test_it_loads_no_regular_expressions() -> None:
    assert not {"re", "enum", "json", "socket"} & set(spoken(())["loaded"])  # type: ignore[call-overload]


def test_the_end_of_the_connection_ends_the_process() -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(package.__file__).parent)!r})
import messages
ours, theirs = messages.socket.socketpair(messages.socket.AF_UNIX, messages.socket.SOCK_SEQPACKET)
ours.close()
messages.hear(theirs)
print("went on")
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
