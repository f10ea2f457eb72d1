"""The only door to other programs.

Arguments are always a list, never a shell line; the environment is always given by the caller or empty of secrets by
default; every run has a deadline. `subprocess` is imported on first use, because most verbs never start a program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from subprocess import Popen as Popen  # for whoever owns one

# As in subprocess, so that nobody else needs to import it.
PIPE, STDOUT, DEVNULL = -1, -2, -3

# What a helper program may see of the operator's environment: enough to find programs, files and its registry
# settings, nothing that is a secret by convention.
_SAFE = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ", "XDG_RUNTIME_DIR")


@dataclass(frozen=True)
class Result:
    """A finished program: its argv, exit code (negative: killed by that signal) and what it wrote."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes


def base_env() -> dict[str, str]:
    """The part of the operator's environment that helper programs get. PATH is `search_path()`."""
    return {key: os.environ[key] for key in _SAFE if key in os.environ} | {"PATH": search_path()}


def search_path() -> str:
    """PATH without the places an agent writes to: what is relative, and what lies below the directory we stand in
    (`node_modules/.bin` of a bound workspace), unless that holds the operator's own home."""
    entries = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(entry)]
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:
        return os.pathsep.join(entries)
    if not os.path.join(os.path.realpath(os.path.expanduser("~")), "").startswith(here):
        entries = [entry for entry in entries if not os.path.join(os.path.realpath(entry), "").startswith(here)]
    return os.pathsep.join(entries)


def find(program: str) -> str | None:
    """The absolute path of `program` on `search_path()`, or None. (`shutil.which` takes 5 ms to import.)"""
    for directory in search_path().split(os.pathsep):
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def run(
    argv: Sequence[str],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float = 60,
    check: bool = True,
) -> Result:
    """Run a program to its end. Raises EnvironmentLacks when it does not exist, BottleError on time-out or (with
    `check`) a non-zero exit. `env` None means `base_env()`."""
    import subprocess

    try:
        done = subprocess.run(
            list(argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=dict(base_env() if env is None else env),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise EnvironmentLacks(f"cannot run {argv[0]}", why=str(missing), do=f"install {argv[0]}") from missing
    except PermissionError as denied:
        raise EnvironmentLacks(f"cannot run {argv[0]}", why=str(denied)) from denied
    except subprocess.TimeoutExpired as late:
        raise BottleError(f"{argv[0]} did not finish within {timeout:g} s") from late
    result = Result(tuple(argv), done.returncode, done.stdout, done.stderr)
    if check and result.code != 0:
        raise failed(result)
    return result


def popen(argv: Sequence[str], **options: Any) -> Popen[bytes]:
    """Start a program that outlives the call; the caller owns it. `env` defaults to `base_env()`."""
    import subprocess

    options.setdefault("env", base_env())
    return subprocess.Popen(list(argv), **options)


def failed(result: Result) -> BottleError:
    """The error for a program that ended badly: how it ended, and the last lines it wrote on stderr."""
    import shlex

    how = f"was killed by signal {-result.code}" if result.code < 0 else f"ended with exit code {result.code}"
    last = result.err.decode(errors="replace").strip().splitlines()[-5:]
    return BottleError(f"{result.argv[0]} {how}", why="\n".join(last), more=shlex.join(result.argv))


def set_title(title: str) -> None:
    """What `ps` shows of this process from now on."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(title)
