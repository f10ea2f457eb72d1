"""Debian packages installed as Debian does it: by a build's own root, over ids and files that nobody else has."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import subids
from claude_bottle.backend.bubblewrap import layers
from claude_bottle.backend.bubblewrap.layer_build import plan_of
from claude_bottle.model.capability import PACKAGES, Capability
from tests.backend.layering import build
from tests.ordinary_user import Person, named
from tests.registries import Registries, package, served

NEEDED = ("apt-get", "dpkg", "useradd", "update-alternatives")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(name, path="/usr/bin:/usr/sbin") for name in NEEDED) or not os.path.islink("/bin"),
    reason="cannot run here: this is no Debian with its usual programs",
)
POSTINST = """#!/bin/sh
set -e
useradd --system --home-dir /var/lib/brand --no-create-home brand
install -d -o brand -g brand -m 0700 /var/lib/brand
echo secret-of-brand > /var/lib/brand/word
chown brand: /var/lib/brand/word && chmod 0600 /var/lib/brand/word
update-alternatives --install /usr/bin/brandnew brandnew /usr/bin/brandnew.real 10
chown root:brand /usr/bin/brandnew.real && chmod 6755 /usr/bin/brandnew.real
invoke-rc.d brand start 2> /dev/null || true
"""
PROGRAM = {"usr/bin/brandnew.real": "#!/bin/sh\ncat /var/lib/brand/word /etc/brand.conf\n", "etc/brand.conf": "set\n"}


@pytest.fixture(scope="module")
def many(everybody: dict[str, Person]) -> Iterator[Person]:
    """An ordinary user with subordinate ids."""
    missing = [name for name in ("newuidmap", "newgidmap", "unshare", "setpriv") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"cannot run here: {', '.join(missing) or 'only root can make a user with subordinate ids'}")
    place = Path(tempfile.mkdtemp(prefix="cb-ids-"))
    place.chmod(0o755)
    person = everybody["user"]
    yield replace(person, prefix=(*named(place, person), *person.prefix))
    shutil.rmtree(place)


@pytest.fixture(params=["root", "subordinate ids"])
def builder(request: pytest.FixtureRequest, everybody: dict[str, Person]) -> Person:
    if request.param != "root":
        found: Person = request.getfixturevalue("many")
        return found
    if os.geteuid() != 0:
        pytest.skip("cannot run here: the tests are not run by root")
    return everybody["root"]


@pytest.fixture
def registries(builder: Person) -> Iterator[Registries]:
    with served(builder.directory("registries")) as made:
        yield made


@pytest.fixture
def root(builder: Person) -> Path:
    return builder.directory("root") / "state"


ITEMS = {"go": "example.com/one"}


def offer(registries: Registries, builder: Person, **packages: dict[str, Any]) -> None:
    place = builder.directory("packages")
    registries.debian(*(package(place, name, **said) for name, said in packages.items()))


def foreign(root: Path, builder: Person) -> list[str]:
    """What below the state root is not its user's own."""
    return [str(path) for path in root.rglob("*") if os.lstat(path).st_uid != builder.uid]


def sh(command: str) -> dict[str, Any]:
    return {"argv": ["/bin/sh", "-c", command]}


def test_what_its_scripts_do_is_in_the_layer_and_all_of_it_the_builders(
    builder: Person, root: Path, registries: Registries
) -> None:  # fmt: skip
    offer(registries, builder, brandnew={"files": PROGRAM, "postinst": POSTINST},
          more={"files": {"usr/bin/more-of-it": "#!/bin/sh\n"}, "depends": "brandnew",
                "postinst": "#!/bin/sh\nset -e\nchown brand /usr/bin/more-of-it\nid -un brand > /usr/share/more\n",
                })  # fmt: skip
    look = "brandnew; cat /usr/share/more; getent passwd brand | cut -d: -f1,6; getent group brand | cut -d: -f1; "
    look += "stat -Lc %a /usr/bin/brandnew; dpkg-query -W brandnew more; touch /var/lib/x 2> /dev/null || echo closed"
    done = build(builder, root, registries, {"apt": ["brandnew"]}, {"apt": ["more"]}, **sh(look))
    assert done["error"] is None, done
    said = "secret-of-brand\nset\nbrand\nbrand:/var/lib/brand\nbrand\n555\nbrandnew\t1.0\nmore\t1.0\nclosed\n"
    assert done["out"] == said
    # The second build found the first package installed, with its user.
    assert registries.requests.count("/debian/pool/brandnew_1.0.deb") == 1
    assert sorted(os.listdir(root / "layers")) == sorted(done["names"])
    assert foreign(root, builder) == []
    modes = [found.st_mode for path in (root / "layers").rglob("*") if not stat.S_ISLNK((found := os.lstat(path)).st_mode)]
    assert not [mode for mode in modes if mode & 0o7022]


def test_a_layer_built_with_one_id_is_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bottle that was planned with the one does not get the other."""
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path))
    names = []
    for ids in (subids.Range(1, 1, 2, 2), None):
        monkeypatch.setattr(subids, "own", lambda _name, ids=ids: ids)
        wanted = [Capability(kind, (ITEMS.get(kind, "one"),)) for kind in PACKAGES]
        names.append([layers.with_layer(plan_of("b-000000"), one).layers[0].name for one in wanted])
    assert [one == other for one, other in zip(*names, strict=True)] == [kind != "apt" for kind in PACKAGES]


# Each says what it found where something is open that should not be.
CURIOUS = """#!/bin/sh
{script}
grep -qx 'CapEff:\t00000000000000fb' /proc/self/status || echo OPEN capabilities
grep -qx 'CapBnd:\t00000000000000fb' /proc/self/status || echo OPEN bounding
grep -qx 'NoNewPrivs:\t1' /proc/self/status || echo OPEN new privileges
grep -qx 'Seccomp:\t2' /proc/self/status || echo OPEN filter
renice -n 1 -p 1 > /dev/null 2>&1 && echo OPEN filter, or its rules for bottles
unshare --user true 2> /dev/null && echo OPEN users
unshare --mount true 2> /dev/null && echo OPEN mounts
mount -t tmpfs none /mnt 2> /dev/null && echo OPEN mount
mknod /tmp/null c 1 3 2> /dev/null && echo OPEN device
chroot / true 2> /dev/null && echo OPEN chroot
[ -e /root ] || [ -e /home/tester ] || [ -e {outside} ] && echo OPEN paths
for one in shadow machine-id fstab ssh/ssh_host_ed25519_key apt/sources.list.d; do [ -e /etc/$one ] && echo OPEN $one; done
[ "$(cat /etc/hostname)" = bottle ] || echo OPEN hostname
[ "$(wc -c < /proc/self/mountinfo)" = 0 ] || echo OPEN mountinfo
[ "$(ls -d /proc/[0-9]* | wc -l)" -lt 20 ] || echo OPEN processes
(echo x > /proc/sys/kernel/domainname) 2> /dev/null && echo OPEN kernel
date -s tomorrow 2> /dev/null && echo OPEN clock
ip link add type dummy 2> /dev/null && echo OPEN network
[ "$(id -u)" = 0 ] || echo OPEN nothing, since it is not root
echo looked around
exit 9
"""


def test_a_builds_root_is_root_of_nothing_else_and_its_failure_leaves_nothing(
    builder: Person, root: Path, registries: Registries
) -> None:  # fmt: skip
    canary = root.parent / "canary"
    canary.write_text("mine")
    script = POSTINST.partition("update-alternatives")[0].partition("set -e\n")[2] + "mkdir -m 0 /var/lib/brand/closed\n"
    offer(registries, builder, brandnew={"files": PROGRAM, "postinst": CURIOUS.format(outside=canary, script=script)})
    done = build(builder, root, registries, {"apt": ["brandnew"]}, **sh("getent passwd brand || echo nobody"))
    assert "looked around" in done["error"]["why"]
    assert "OPEN" not in "".join(done["lines"])
    assert (done["out"], os.listdir(root / "layers")) == ("nobody\n", [])
