"""`./cli.py` and `./test` from a checkout: set-up happens once, whole or not at all, and nothing near it is executed.

The quick tests stand a fake interpreter where `.venv` would be; one test sets up for real, from the package registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parent.parent
FRESH = ("cli.py", "test", "pyproject.toml", "README.md", "LICENSE", "scripts", "claude_bottle")
# Downloads and compiles; on a busy machine with one core that takes minutes.
SET_UP_SECONDS = 600
FAKE_PYTHON = '#!/bin/sh\nfor word; do echo "$word"; done\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout as it comes, in a place with blanks and a quote in its name."""
    place = tmp_path / "it's my clone"
    place.mkdir()
    for piece in FRESH:
        source = ROOT / piece
        if source.is_dir():
            shutil.copytree(source, place / piece, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, place / piece)
    return place


@pytest.fixture
def ready(clone: Path) -> Path:
    """The same with a `.venv` that counts as ready and whose Python only repeats its arguments."""
    program(clone / ".venv" / "bin" / "python", FAKE_PYTHON)
    for name in ("ready", "ready-dev"):
        shutil.copy(clone / "pyproject.toml", clone / ".venv" / name)
    (clone / ".venv" / "made-at").write_text(f"{clone}\n")
    return clone


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with next to nothing on it, above all no Python."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("sh", "cmp", "readlink", "cat"):
        (place / name).symlink_to(shutil.which(name) or "")
    return place


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(
    *argv: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = SECONDS
) -> tuple[int, str, str]:
    command = [str(word) for word in argv]
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
    )
    return done.returncode, done.stdout, done.stderr


def test_a_second_run_only_looks_at_the_marks_and_becomes_python(ready: Path, programs: Path) -> None:
    code, out, err = run(ready / "cli.py", "start", "a b", "--", "", env={"PATH": str(programs)})
    assert (code, err) == (0, "")
    assert out.splitlines() == ["-I", "-S", str(ready / "claude_bottle/__main__.py"), "start", "a b", "--", ""]


def test_it_is_found_through_a_link_and_from_anywhere(ready: Path, tmp_path: Path) -> None:
    link = tmp_path / "cb"
    link.symlink_to(ready / "cli.py")
    expected = ["-I", "-S", str(ready / "claude_bottle/__main__.py"), "ls"]
    assert run(link, "ls")[1].splitlines() == expected
    assert run("sh", "cli.py", "ls", cwd=ready)[1].splitlines() == expected
    assert run("./cli.py", "ls", cwd=ready)[1].splitlines() == expected


def test_any_python_may_be_named_in_front_of_it(ready: Path) -> None:
    assert run(sys.executable, ready / "cli.py", "ls")[1].splitlines()[-1] == "ls"


def test_it_works_in_a_clone_that_is_read_only(ready: Path) -> None:
    places = [ready, *(path for path in ready.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    try:
        assert run(ready / "cli.py", "ls")[0] == 0
    finally:
        for place in places:
            place.chmod(0o755)


def test_modules_of_the_directory_we_stand_in_are_never_imported(tmp_path: Path) -> None:
    """An agent writes argparse.py into the project; the operator's next command must not run it."""
    for name in ("argparse", "os", "json", "pip", "claude_bottle"):
        (tmp_path / f"{name}.py").write_text("open('was_here', 'w')")
    planted = {**os.environ, "PYTHONPATH": str(tmp_path), "CLAUDE_BOTTLE_HOME": str(tmp_path / "state")}
    line = next(line for line in (ROOT / "cli.py").read_text().splitlines() if line.startswith("exec "))
    command = line.removeprefix("exec ").replace("$here/.venv/bin/python", sys.executable)
    script = f"here=$1; shift; exec {command}"
    code, _, err = run("sh", "-c", script, "sh", ROOT, "ls", env=planted, cwd=tmp_path)
    assert code == 0, err
    assert not (tmp_path / "was_here").exists()


def test_without_a_new_enough_python_it_says_what_to_install(clone: Path, programs: Path) -> None:
    program(programs / "python3", '#!/bin/sh\n[ "$1" != --version ] || { echo "Python 3.8.18"; exit 0; }\nexit 1\n')
    code, out, err = run(clone / "cli.py", "ls", env={"PATH": str(programs)})
    assert (code, out) == (4, "")
    assert "Python 3.11 or newer is needed" in err
    assert "Python 3.8.18" in err
    assert "sudo apt install" in err
    assert not (clone / ".venv").exists()


def test_a_newer_python_is_found_beside_an_old_python3(clone: Path, programs: Path) -> None:
    program(programs / "python3", "#!/bin/sh\nexit 1\n")
    program(programs / "python3.12", '#!/bin/sh\n[ "$2" = -c ] || { echo "set up by $0" >&2; exit 9; }\n')
    code, _, err = run(clone / "cli.py", "ls", env={"PATH": str(programs)})
    assert (code, err.strip()) == (9, f"set up by {programs}/python3.12")


def no_registry(tmp_path: Path) -> dict[str, str]:
    """Settings under which pip reaches nothing: its index and links are on a closed port of this machine."""
    settings = tmp_path / "pip.conf"
    settings.write_text("")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": str(settings),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }


@pytest.mark.timeout(2 * SET_UP_SECONDS)
def test_without_a_registry_it_fails_clearly_and_is_not_ready(clone: Path, tmp_path: Path) -> None:
    code, out, err = run(clone / "cli.py", "--version", env=no_registry(tmp_path), timeout=SET_UP_SECONDS)
    assert (code, out) == (4, "")
    assert "making a virtual environment" in err
    assert "installing claude-bottle and what it needs ... failed" in err
    assert "No matching distribution" in err
    assert "check the network" in err
    assert "Traceback" not in err
    assert not (clone / ".venv" / "ready").exists()


def test_a_changed_project_file_or_a_moved_clone_sets_up_again(ready: Path, tmp_path: Path) -> None:
    with (ready / "pyproject.toml").open("a") as project:
        project.write("\n# changed\n")
    assert "changed project file: setting up" in run(ready / "cli.py", "ls")[2]
    assert run(ready / "cli.py", "ls")[2] == ""
    moved = ready.rename(tmp_path / "moved")
    assert "clone was moved: setting up" in run(moved / "cli.py", "ls")[2]


def test_an_unwritable_fresh_clone_says_so(clone: Path) -> None:
    """As root nothing is unwritable; the check is asked through a read-only mount of the clone."""
    script = 'mount --bind -o ro "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$1/cli.py" ls'
    code, _, err = run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", clone)
    assert code == 4, err
    assert "is not writable" in err


def test_python_without_ensurepip_names_the_package_to_install(clone: Path, tmp_path: Path) -> None:
    """As on Debian without python3-venv, and with no pip of the system's own either."""
    code = (
        "import sys, importlib.util; real = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name: None if name == 'ensurepip' else real(name);"
        "sys.path.insert(0, sys.argv[1]); import bootstrap; bootstrap.works = lambda argv: False;"
        "sys.exit(bootstrap.main(''))"
    )
    status, _, err = run(sys.executable, "-I", "-c", code, clone / "scripts")
    assert status == 4
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in err


@pytest.fixture
def set_up(clone: Path, tmp_path: Path) -> Path:
    """Two at once, on a fresh machine: a new HOME, no .venv."""
    home = tmp_path / "home"
    home.mkdir()
    settings = {**os.environ, "HOME": str(home), "CLAUDE_BOTTLE_HOME": str(home / "state")}
    settings.pop("VIRTUAL_ENV", None)
    two = [
        subprocess.Popen(
            [str(clone / "cli.py"), "ls", "--json"],
            env=settings, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [one.communicate(timeout=SET_UP_SECONDS) for one in two]
    assert [one.returncode for one in two] == [0, 0], told
    assert [out for out, _ in told] == ['{\n  "bottles": []\n}\n'] * 2
    progress = sorted((err for _, err in told), key=len)
    assert "waiting for another" in progress[0] or progress[0] == ""
    assert "making a virtual environment" in progress[1]
    assert "ready after" in progress[1]
    return clone


@pytest.mark.timeout(3 * SET_UP_SECONDS)
def test_a_fresh_machine_is_set_up_once_by_two_at_once(set_up: Path, tmp_path: Path) -> None:
    assert run(set_up / "cli.py", "--version")[::2] == (0, "")
    assert not (set_up / ".venv" / "incomplete").exists()
    left = {path.name for path in set_up.iterdir()} - set(FRESH)
    assert left == {".venv"}
    # Compiled, so that a clone made read-only afterwards starts as fast.
    assert list((set_up / "claude_bottle" / "cli" / "__pycache__").glob("ls.*.pyc"))
    # Interrupted half-way the next time: everything is made anew rather than half of it believed.
    (set_up / ".venv" / "incomplete").touch()
    (set_up / ".venv" / "ready").unlink()
    code, _, err = run(set_up / "cli.py", "--version", env=no_registry(tmp_path), timeout=SET_UP_SECONDS)
    assert (code, "making a virtual environment" in err) == (4, True)
