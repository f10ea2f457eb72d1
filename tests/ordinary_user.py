"""People who run claude-bottle in tests: whoever runs the tests, and an ordinary user with nothing of root's.

When root runs the tests, the ordinary user is another uid without groups, with a world-readable copy of
the package and of what it needs at run time, because root's own tree is usually closed to others. When an
ordinary user runs the tests, they are both the same, and root's half is skipped by name.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import claude_bottle
from tests.waiting import SECONDS

PACKAGE = Path(claude_bottle.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent
NAME, SUBORDINATE = "tester", 300_000
# Bind mounts in a namespace of its own: $0 is the directory with the files.
_NAMED = 'for f in passwd group subuid subgid; do mount --bind "$0/$f" "/etc/$f" || exit; done; exec "$@"'


@dataclass(frozen=True)
class Person:
    """Somebody who runs programs. `keeper` is a Python program that stands in for `tests.in_bottle`.
    `place` is a directory of theirs; `path` is what PYTHONPATH must say for them."""

    name: str
    uid: int
    python: str
    path: str
    place: Path
    prefix: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    keeper: str = ""

    @property
    def gid(self) -> int:
        return self.uid if self.prefix else os.getegid()

    def environment(self) -> dict[str, str]:
        base = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.place), "LANG": "C.UTF-8"}
        return {**base, "PYTHONPATH": self.path, "PYTHONDONTWRITEBYTECODE": "1", **self.env}

    def argv(self, command: Sequence[str]) -> list[str]:
        return [*self.prefix, *command]

    def run(
        self, command: Sequence[str], *, input: str = "", timeout: float = 2 * SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this person, in their place; nothing is checked."""
        return subprocess.run(
            self.argv(command), input=input, capture_output=True, text=True, timeout=timeout, check=False,
            env=self.environment(), cwd=self.place,
        )  # fmt: skip

    def popen(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start one with pipes for stdin and stdout; stderr is the tests'."""
        return subprocess.Popen(
            self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=self.environment(), cwd=self.place,
        )  # fmt: skip

    def module(self, name: str, *arguments: str) -> list[str]:
        return [self.python, "-m", name, *arguments]

    def directory(self, name: str) -> Path:
        """A new directory that belongs to this person."""
        made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.place))
        os.chown(made, self.uid, self.gid)
        return made


def whoever_runs_the_tests(place: Path) -> Person:
    """This very user. `place` should be short and not below a directory that others replace."""
    path = os.pathsep.join([str(PACKAGE.parent), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    return Person("root" if os.geteuid() == 0 else "user", os.geteuid(), sys.executable, path, place)


def an_ordinary_user(place: Path) -> Person:
    """An ordinary user; `place` (made world-readable) receives the copies. Skips where there is no way to
    be one."""
    if os.geteuid() != 0:
        return whoever_runs_the_tests(place)
    uid = 61000 + os.getpid() % 500
    # `env` executes the program without the capabilities that setpriv still has when it executes.
    prefix = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", "env")
    library = place / "lib"
    copy_package(library)
    own = place / "own"
    own.mkdir()
    os.chown(own, uid, uid)
    python = readable_interpreter(prefix)
    if python is None:
        pytest.skip("cannot run here: no Python of this version that an ordinary user can execute")
    return Person("user", uid, python, str(library), own, prefix)


def named(place: Path, person: Person) -> tuple[str, ...]:
    """What makes a command of root's see this person with a name and subordinate ids, in a mount namespace only; the files
    for it are made in `place`."""
    etc, uid = place / "etc", person.uid
    etc.mkdir()
    (etc / "passwd").write_text(Path("/etc/passwd").read_text() + f"{NAME}:x:{uid}:{uid}::{person.place}:/bin/sh\n")
    (etc / "group").write_text(Path("/etc/group").read_text() + f"{NAME}:x:{uid}:\n")
    for name in ("subuid", "subgid"):
        (etc / name).write_text(f"{NAME}:{SUBORDINATE}:65536\n")
    return ("unshare", "--mount", "--propagation=slave", "sh", "-c", _NAMED, str(etc))


def end_all_of(place: Path) -> None:
    """What still runs with settings that lie in this place."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(f"={place}/") in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def readable_interpreter(prefix: Sequence[str]) -> str | None:
    """A Python of our minor version (compiled dependencies are copied) that starts as that user."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in (sys.executable, f"/usr/bin/python{version}", "/usr/bin/python3"):
        asked = subprocess.run([*prefix, python, "-c", question], capture_output=True, text=True, check=False, cwd="/")
        if asked.stdout.strip() == version:
            return python
    return None


def copy_package(library: Path) -> None:
    """claude_bottle, its tests' helpers and its run-time dependencies, readable by everybody."""
    library.mkdir()
    # Beside us somebody else may be compiling it: what is not yet called as it will be is gone a moment later.
    shutil.copytree(PACKAGE, library / PACKAGE.name, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copytree(TESTS, library / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in sorted(requirements("claude-bottle")):
        for file in importlib.metadata.files(name) or ():
            source, target = Path(str(file.locate())), library / str(file)
            if ".." not in str(file) and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
    # They cannot write there, so every program of theirs would compile all of it again.
    compileall.compile_dir(library / PACKAGE.name, quiet=1)
    for directory, _, files in os.walk(place := library):
        os.chmod(directory, 0o755)
        for name in files:
            path = Path(directory, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    os.chmod(place.parent, 0o755)


def requirements(root: str) -> set[str]:
    """Names of the installed distributions that `root` needs at run time, directly or not."""
    pending, found = list(_direct(root)), set()
    while pending:
        name = pending.pop()
        if name in found:
            continue
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        pending += _direct(name)
    return found


def _direct(name: str) -> list[str]:
    if name == "claude-bottle":
        # What the tree says; an editable installation knows what it said when it was installed.
        import tomllib

        lines = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    else:
        lines = importlib.metadata.requires(name) or []
    wanted = [line for line in lines if "extra ==" not in line]
    return [match.group() for line in wanted if (match := re.match(r"[A-Za-z0-9._-]+", line))]
