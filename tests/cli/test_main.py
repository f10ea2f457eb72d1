"""The edge of the command line: every way a verb can end becomes one exit code and words without a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from claude_bottle import __version__, cli
from claude_bottle.cli import cmd_start, main
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from tests.waiting import SECONDS

VERBS = sorted(cli.VERBS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "state"
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    return root


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A verb whose `run` a test writes."""
    module = ModuleType("claude_bottle.cli.trial")
    module.configure = lambda parser: parser.add_argument("--number", type=int)  # type: ignore[attr-defined]
    module.EXAMPLES = "claude-bottle trial"  # type: ignore[attr-defined]
    module.TAIL = "[-- ARGS]"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.VERBS, "trial", ("Begin", "a trial"))
    return module


def program(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    command = [sys.executable, "-I", "-m", "claude_bottle", *words]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=SECONDS, **options)  # type: ignore[call-overload,no-any-return]


def raising(problem: BaseException):  # type: ignore[no-untyped-def]
    def run(options: object) -> int:
        raise problem

    return run


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (BottleError("x"), 1),
        (Refused("x"), 3),
        (EnvironmentLacks("x"), 4),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 70),
        (PermissionError(13, "x"), 70),
        (SystemExit(5), 5),
    ],
)
def test_each_way_to_fail_has_its_exit_code(verb: ModuleType, problem: BaseException, code: int) -> None:
    verb.run = raising(problem)  # type: ignore[attr-defined]
    assert main(["trial"]) == code


def test_an_error_says_what_why_and_what_to_do(verb: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(BottleError("it broke", why="rust", do="oil it"))  # type: ignore[attr-defined]
    main(["trial"])
    assert capsys.readouterr().err == "claude-bottle: it broke\n  why   rust\n  do    oil it\n"


def test_a_bug_is_two_lines_and_a_private_report(
    verb: ModuleType, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "sk-very-secret-value")
    verb.run = raising(RuntimeError("lost sk-very-secret-value \x1b[2J"))  # type: ignore[attr-defined]
    assert main(["trial", "--number", "7", "--", "words of the agent"]) == 70
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 2
    assert "Traceback" not in shown.err
    (report,) = (home / "reports").iterdir()
    text = report.read_text()
    assert str(report) in shown.err
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "RuntimeError: lost $SOME_SECRET \\x1b[2J" in text
    assert "sk-very-secret-value" not in text
    assert "claude-bottle trial --number 7" in text
    assert "words of the agent" not in text


def test_a_credential_that_was_read_does_not_stand_in_a_bugs_report(verb: ModuleType, home: Path, tmp_path: Path) -> None:
    from claude_bottle.model.credentials import CredentialSpec
    from claude_bottle.workflow import secrets

    token = tmp_path / "token"
    token.write_text("sk-from/a-file-0123456789\n")
    spec = CredentialSpec("api", "file", str(token), "API_KEY", "authorization")

    def run(options: object) -> int:
        value = secrets.read(spec).reveal()
        raise RuntimeError(f"{value} {value.replace('/', '%2F')}")

    verb.run = run  # type: ignore[attr-defined]
    assert main(["trial"]) == 70
    (report,) = (home / "reports").iterdir()
    assert "RuntimeError: [redacted] [redacted]" in report.read_text()


def test_a_bug_is_told_even_when_no_report_can_be_written(
    verb: ModuleType, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write_text("a file where the state root should be")
    verb.run = raising(RuntimeError("x"))  # type: ignore[attr-defined]
    assert main(["trial"]) == 70
    assert "RuntimeError" in capsys.readouterr().err


def test_a_bug_is_reported_where_the_operator_keeps_state_whatever_the_verb_changed(
    verb: ModuleType, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: object) -> int:
        monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "elsewhere"))
        raise RuntimeError

    verb.run = run  # type: ignore[attr-defined]
    main(["trial"])
    assert list((home / "reports").iterdir())


def test_what_follows_two_dashes_reaches_the_agent_untouched(verb: ModuleType) -> None:
    seen: list[list[str] | None] = []
    verb.run = lambda options: seen.append(options.passed) or 0  # type: ignore[attr-defined]
    words = ["--number", "-x", "--", "--help", ""]
    assert main(["trial", "--number", "1", "--", *words]) == 0
    assert main(["trial"]) == 0
    assert seen == [words, None]


@pytest.mark.parametrize(
    "words",
    [["strat"], ["trial", "--numb", "1"], ["trial", "--number", "x"], ["trial", "stray"], ["--what"], ["teleport", "x"]],
)
def test_a_wrong_command_line_is_usage_without_a_usage_dump(
    verb: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.match(r"claude-bottle: .+\n  do    .*claude-bottle .+\n$", shown.err)


def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["strat"])
    assert "did you mean: claude-bottle start" in capsys.readouterr().err


def test_the_original_entry_returns_an_exit_code() -> None:
    from claude_bottle.cli.start import cmd_start as the_same

    assert cmd_start([]) == 2
    assert the_same(["--format", "xml", "x"]) == 2


def test_version_and_overview() -> None:
    assert program("--version").stdout == f"claude-bottle {__version__}\n"
    assert program().stdout == program("--help").stdout == f"{cli.overview()}\n"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_an_example_in_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: claude-bottle {name}")
    assert re.search(r"(?m)^examples?$", text)
    assert max(map(len, text.splitlines())) <= 80


def test_the_overview_fits_80_columns_and_names_every_verb() -> None:
    text = cli.overview()
    assert max(map(len, text.splitlines())) <= 80
    assert all(re.search(rf"(?m)^  {name} ", text) for name in VERBS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in VERBS)


# Less than is kept back before it is written, and more.
@pytest.mark.parametrize("words", [("--help",), ("manifest", "schema")])
def test_a_reader_that_leaves_is_no_error(words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "claude_bottle", *words], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("words", [("--help",), ("manifest", "schema")])
def test_a_full_disk_under_stdout_is_said(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "claude_bottle", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr and "bug" not in done.stderr


def test_closed_standard_descriptors_are_filled_before_anything_is_opened(tmp_path: Path) -> None:
    code = (
        "import os, sys; from claude_bottle.__main__ import main; assert main(['ls']) == 0;"
        "fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(fd, str(fd).encode())"
    )
    script = 'exec "$0" -I -c "$1" "$2" 0<&- 1>&- 2>&-'
    answer = tmp_path / "fd"
    subprocess.run(["sh", "-c", script, sys.executable, code, str(answer)], check=True, timeout=SECONDS)
    assert int(answer.read_text()) > 2


def test_a_terminal_that_cannot_say_it_gets_an_escape(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "CLAUDE_BOTTLE_HOME": str(tmp_path / "x")}
    command = [sys.executable, "-m", "claude_bottle", "doctor"]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, check=False, timeout=SECONDS)
    assert b"this is a bug" not in done.stderr
    assert done.returncode in (0, 4)


def test_json_is_one_document_however_it_is_asked_for() -> None:
    documents = [json.loads(program("ls", *how).stdout) for how in (["--json"], ["--format", "json"])]
    assert documents == [{"bottles": []}] * 2
    assert program("ls", "--format", "text").stdout == program("ls").stdout


def test_timing_tells_where_the_time_went() -> None:
    done = program("ls", env={**os.environ, "CLAUDE_BOTTLE_TIMING": "1"})
    names = [line.split()[-1] for line in done.stderr.splitlines() if " timing " in line]
    assert names[0] == "interpreter"
    assert names[-1] == "end"


def test_ctrl_c_while_packages_are_looked_for_is_no_traceback() -> None:
    code = (
        "import site, sys, _signal\n"
        "site.main = lambda: _signal.raise_signal(_signal.SIGINT)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from claude_bottle.__main__ import main\n"
        "main()"
    )
    root = str(Path(cli.__file__).parents[2])
    argv = [sys.executable, "-I", "-S", "-c", code, root]
    done = subprocess.run(argv, stderr=subprocess.PIPE, check=False, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (130, b"")
