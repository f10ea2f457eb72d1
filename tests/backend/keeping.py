"""Small keepers for the tests: Python programs that launch a bottle as a person and print JSON about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.ordinary_user import Person

PRELUDE = """
import json, os, select, signal, socket, sys, time
from tests import in_bottle
from claude_bottle.errors import BottleError
place = sys.argv[1]
ENV = in_bottle.ENV
def launch(gate=None, **request):
    return in_bottle.launch_request({"home": place + "/home", "workspace": place + "/workspace", **request}, gate)
def start(bottle, *argv, out=1, **options):
    with open("/dev/null") as null:
        return bottle.spawn(argv, env=ENV, stdio=(null.fileno(), out, 2), **options)
def output(bottle, *argv, **options):
    end, other = os.pipe()
    process = start(bottle, *argv, out=other, **options)
    os.close(other)
    text = b""
    while chunk := os.read(end, 65536):
        text += chunk
    os.close(end)
    return process.wait(), text.decode()
def descriptors():
    return sorted(fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}"))
def show(value):
    print(json.dumps(value), flush=True)
"""


def place_of(person: Person) -> Path:
    """A directory with `home` and `workspace`, this person's."""
    place = person.directory("place")
    for name in ("home", "workspace"):
        (place / name).mkdir()
        os.chown(place / name, person.uid, person.gid)
    return place


def keep(person: Person, source: str, place: Path | None = None) -> Any:
    """What a keeper (PRELUDE and `source`) shows, once it has ended."""
    done = person.run([person.python, "-c", PRELUDE + source, str(place or place_of(person))])
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)
