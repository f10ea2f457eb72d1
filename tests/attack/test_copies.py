"""Attack cases on the copies that are made of what a bottle writes (threats.md §2, 93, 94, 96, 99, 101): while they are made,
and by what there is to copy. That a race which is won leads nowhere, too, is shown by tests/backend/test_copier.py."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.attack.operators import Bottle, Operator
from tests.attack.test_work_out import Shop
from tests.waiting import eventually

FLIPS = 10_000
SECRET = b"SECRET-of-another"
# What is there before anything is copied: links that a careless extractor writes through, names at the limits, programs of
# the agent's own wherever somebody could look for one.
PREPARE = r"""
import json, os, subprocess
outside = OUTSIDE
ran = f"touch /workspace/ran {outside}/ran"  # whoever runs it, inside or out here
def attempt(work, *words):
    try:
        work(*words)
        return True
    except OSError:
        return False
os.symlink(outside, "through")
os.symlink("../" * 1000 + outside[1:], "far")
for turn in range(40):
    os.symlink(f"chain{turn + 1}", f"chain{turn}")
os.symlink(outside, "chain40")
os.makedirs("/".join(["n" * 250] * 10))
with open("/".join(["n" * 250] * 10) + "/end", "w") as file:
    file.write("end")
with open("one", "w") as file:
    file.write("twice")
os.link("one", "two")
for place in (".", os.path.expanduser("~/bin"), os.path.expanduser("~/.local/bin")):
    os.makedirs(place, exist_ok=True)
    for name in ("tar", "sh", "bash", "cat", "git", "python3", "cp"):
        with open(f"{place}/{name}", "w") as file:
            file.write(f"#!/bin/sh\n{ran}\n")
        os.chmod(f"{place}/{name}", 0o755)
for name in (".bashrc", ".profile", ".bash_profile", ".tarrc", ".dockerenv"):
    with open(os.path.expanduser(f"~/{name}"), "w") as file:
        file.write(ran + "\n")
talk = os.path.expanduser("~/.claude/projects/-workspace")
os.makedirs(talk)
with open(f"{talk}/s.jsonl", "w") as file:
    file.write(json.dumps({"said": "AKIA-a-key-that-was-pasted"}) + "\n")
os.chmod(f"{talk}/s.jsonl", 0o666)
system = ["/bin/sh", "/usr/bin/tar", "/usr/bin/cp", "/etc/ld.so.preload",
          "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/libc.so.6"]
print(json.dumps([path for path in system if attempt(open, path, "r+b") or attempt(os.rename, "tar", path)]))
"""
FLIP = r"""
import os
outside = OUTSIDE
os.mkdir("d")
for name, text in (("d/secret", "mine"), ("f", "mine")):
    with open(name, "w") as file:
        file.write(text)
os.symlink(outside, "l")
os.symlink(outside + "/secret", "g")
flips = 0
while not os.path.exists("enough"):
    for one, other in (("d", "l"), ("f", "g")):
        os.rename(one, "x"); os.rename(other, one); os.rename(one, other); os.rename("x", one)
    flips += 1
    if flips % 500 == 0:
        with open(os.path.expanduser("~/flips.new"), "w") as file:
            file.write(str(flips))
        os.rename(os.path.expanduser("~/flips.new"), os.path.expanduser("~/flips"))
"""
DEEP = r"""
import os
for _ in range(200):
    os.mkdir("deep"); os.chdir("deep")
"""


def flips(bottle: Bottle) -> int:
    return int(bottle.exec("/usr/bin/cat", "/home/agent/flips").stdout or 0)


def files(*places: Path) -> list[Path]:
    """Every regular file below, through no link."""
    return [Path(top) / name for place in places for top, _, names in os.walk(place) for name in names
            if stat.S_ISREG((Path(top) / name).lstat().st_mode)]  # fmt: skip


# Not everybody everywhere: each takes seconds, and what copies is the same code for all of them.
@pytest.mark.parametrize("operator", [("user", "bubblewrap"), ("root", "docker")], indirect=True)
@pytest.mark.threat(93, 94, 96, 99, 101)
def test_case_93_to_101_whatever_is_swapped_or_grown_no_copy_holds_or_reaches_anything_of_the_hosts(
    operator: Operator,
) -> None:
    shop = Shop(operator, "copy")
    outside = shop.above / "other"
    before = sorted((path, path.read_bytes()) for path in files(outside))
    bottle = shop.operator.start("agent")
    inside = {name: text.replace("OUTSIDE", repr(str(outside))) for name, text in (("prepare", PREPARE), ("flip", FLIP))}
    assert bottle.python(inside["prepare"]) == []  # case 99: what programs are made of is not the agent's to replace
    flipping = bottle.exec("/bin/sh", "-c", 'setsid /usr/bin/python3 -I -c "$1" >/dev/null 2>&1 &', "sh", inside["flip"])
    assert flipping.returncode == 0, flipping.stderr
    eventually(lambda: flips(bottle) > 0)

    began, copies, state = flips(bottle), 0, operator.state(bottle.identity)
    while not copies or flips(bottle) < began + FLIPS:
        # What vanishes while it is copied may make a copy fail; none may hold what was never inside.
        shop.operator.run("checkpoint", bottle.identity)
        shop.operator.run("export", bottle.identity, str(shop.above / f"export-{copies}"))
        copies += 1
    assert bottle.exec("/usr/bin/touch", "enough").returncode == 0
    shop.operator.do("checkpoint", bottle.identity, "still")

    held = state / "checkpoints/still/workspace"
    assert os.readlink(held / "through") == os.readlink(held / "chain40") == str(outside)
    assert (held / "one").read_text() == (held / "two").read_text() == "twice"
    assert (held / "/".join(["n" * 250] * 10) / "end").read_text() == "end"
    assert bottle.exec("/usr/bin/test", "-e", "/workspace/ran").returncode == 1

    bottle.exec("/usr/bin/python3", "-I", "-c", DEEP)
    bottle.close()
    row = shop.operator.listing()[bottle.identity]
    shown = shop.operator.run("diff", bottle.identity, "--stat")
    if "its home could not be brought here" in row["preserved"]:
        assert shown.returncode == 1  # it is all where it ran, and nothing is shown for it
    else:
        assert "too deep" in shown.stdout, shown.stdout[-2000:]

    archive = operator.home / "transcripts" / "agent" / bottle.identity
    talk = [path for path in files(archive) if path.suffix == ".jsonl"]
    assert [b"AKIA" in path.read_bytes() for path in talk] == [True]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(archive)} == {0o600}
    assert {path.stat().st_uid for path in files(archive)} == {operator.person.uid}
    assert not [path for path in files(state, *shop.above.glob("export-*")) if SECRET in path.read_bytes()]
    assert sorted((path, path.read_bytes()) for path in files(outside)) == before
    assert not [path for path in (shop.place / "ran", state / "workspace/ran") if path.exists()]
    assert json.loads(shop.operator.do("checkpoints", bottle.identity, "--json"))["checkpoints"][-1]["name"] == "still"
    shop.operator.do("cleanup", bottle.identity, "--yes")
