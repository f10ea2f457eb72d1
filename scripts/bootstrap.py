"""Make `.venv` and install the package and what it needs into it. Run by `ready.sh`; standard library only.

One process at a time (a lock on the clone's directory itself, so that nothing is left behind), and what was
interrupted is begun again: `.venv/incomplete` stands from the first step to the last, the marks that `ready.sh` looks
at come after it. Nothing is written outside the clone but pip's own cache. All it says goes to stderr.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
INCOMPLETE = VENV / "incomplete"
MADE_AT = VENV / "made-at"
PROJECT = HERE / "pyproject.toml"
# What of the caller's settings would send pip elsewhere than into .venv.
MISLEADING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")


class Failed(Exception):
    """The set-up cannot go on: what, why, what to do."""


def main(extra: str) -> int:
    try:
        with locked():
            if not ready(extra):
                set_up(extra)
    except Failed as problem:
        what, why, do = problem.args
        say(what, why=why, do=do)
        return 4
    except KeyboardInterrupt:
        say("interrupted; run the same command again")
        return 130
    return 0


def mark(extra: str) -> Path:
    return VENV / (f"ready-{extra}" if extra else "ready")


def ready(extra: str) -> bool:
    """As `ready.sh` sees it; asked again under the lock, since another process may just have finished."""
    try:
        made = MADE_AT.read_text() == f"{HERE}\n" and mark(extra).read_bytes() == PROJECT.read_bytes()
    except OSError:
        return False
    return made and os.access(PYTHON, os.X_OK)


@contextlib.contextmanager
def locked():
    """Hold the clone's directory; wait for whoever sets up now. A file system without locks has none."""
    directory = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another claude-bottle that is setting up .venv")
            fcntl.flock(directory, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
    finally:
        os.close(directory)


def set_up(extra: str) -> None:
    if not os.access(HERE, os.W_OK):
        raise Failed("cannot set up .venv", f"{HERE} is not writable", "make it writable for the first run")
    started = time.monotonic()
    say(
        f"{occasion(extra)}: setting up .venv "
        f"({'a minute or two' if extra else 'about 20 s'}, needs the Python package registry)"
    )
    installer = make_venv()
    INCOMPLETE.touch()
    target = f"{HERE}[{extra}]" if extra else str(HERE)
    step(
        "installing claude-bottle and what it needs",
        [*installer, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--editable", target],
        "check the network (or pip's settings, if you use a mirror), then run this again",
    )
    # Operators may have PYTHONDONTWRITEBYTECODE set, or make the clone read-only afterwards.
    step("compiling", [str(PYTHON), "-I", "-m", "compileall", "-q", str(HERE / "claude_bottle")], "")
    for name in {"", extra}:
        mark(name).write_bytes(PROJECT.read_bytes())
    MADE_AT.write_text(f"{HERE}\n")
    INCOMPLETE.unlink()
    say(f"ready after {time.monotonic() - started:.0f} s")


def occasion(extra: str) -> str:
    if not MADE_AT.exists():
        return "first use"
    if MADE_AT.read_text() != f"{HERE}\n":
        return "this clone was moved"
    return "changed project file" if mark(extra).exists() else "first use of ./test"


def make_venv() -> list[str]:
    """A usable `.venv`, an old one if it is whole; returns the pip command that installs into it."""
    own = [str(PYTHON), "-I", "-m", "pip"]
    foreign = [sys.executable, "-I", "-m", "pip", "--python", str(PYTHON)]
    if not INCOMPLETE.exists():
        for pip in (own, foreign):
            if os.access(PYTHON, os.X_OK) and works([*pip, "--version"]):
                return pip
    if VENV.is_dir() and not VENV.is_symlink():
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    INCOMPLETE.touch()
    # The interpreter by its real name (python3.12, not python3): a new default on this system changes nothing.
    python = os.path.realpath(sys.executable)
    what = f"making a virtual environment (Python {sys.version_info[0]}.{sys.version_info[1]})"
    if importlib.util.find_spec("ensurepip"):
        step(what, [python, "-I", "-m", "venv", str(VENV)], "")
        return own
    if works([sys.executable, "-I", "-m", "pip", "--python", sys.executable, "--version"]):
        step(what, [python, "-I", "-m", "venv", "--without-pip", str(VENV)], "")
        return foreign
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    raise Failed(
        "cannot make a virtual environment",
        f"{python} comes without the module ensurepip",
        f"Debian, Ubuntu: sudo apt install {package}   (or python3-venv), then run this again",
    )


def works(argv: list[str]) -> bool:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(argv, env=environment(), cwd=HERE, check=False, **quiet).returncode == 0


def step(what: str, argv: list[str], remedy: str) -> None:
    """Run one command quietly, saying what it does and how long it took; its output is shown only if it fails."""
    began = time.monotonic()
    sys.stderr.write(f"claude-bottle:   {what} ... ")
    sys.stderr.flush()
    try:
        done = subprocess.run(
            argv,
            env=environment(),
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except BaseException:
        sys.stderr.write("\n")
        raise
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n" if done.returncode == 0 else "failed\n")
    if done.returncode != 0:
        raise Failed(f"{what}: failed", telling(done.stdout), remedy)


def telling(output: str) -> str:
    """What pip said that helps: its errors and the system's. It ends in lines of advice that bury them."""
    found = re.findall(r"^\s*ERROR: (.+)$|(\[Errno -?\d+\] [\w ,]+|certificate verify failed[\w :]*)", output, re.MULTILINE)
    lines = dict.fromkeys((error or cause).strip() for error, cause in found)
    return "\n".join(list(lines)[:6] or output.strip().splitlines()[-8:])


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in MISLEADING}


def say(what: str, *, why: str = "", do: str = "") -> None:
    lines = [f"claude-bottle: {what}"]
    for label, text in (("why", why), ("do", do)):
        lines += [f"  {label if index == 0 else '':<6}{line}" for index, line in enumerate(text.splitlines())]
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
