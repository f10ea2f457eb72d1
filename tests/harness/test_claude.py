from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.harness import get
from claude_bottle.harness.base import Launch, Program
from claude_bottle.model.asking import BRIEF
from tests.harness.conftest import REAL_KEY, Stage
from tests.harness.screen import Screen
from tests.waiting import SECONDS, eventually

CLAUDE = get("claude")
SESSION = "11111111-2222-4333-8444-555555555555"
PROJECT = ".claude/projects/-workspace"
PROMPT = r"bypass permissions on"
SIMPLE = [{"say": "first scripted answer"}, {"say": "second scripted answer"}]


def launch_of(program: Program, *args: str, **options: Any) -> Launch:
    settings = {"session_id": SESSION, "placeholders": {"ANTHROPIC_API_KEY": REAL_KEY}, **options}
    return Launch(program, args, **settings)


def texts(request: dict[str, Any]) -> str:
    return json.dumps(request["body"]["messages"])


def leave(screen: Screen) -> int:
    """Ctrl-C twice in a row, which is how a session is left; the exit code. Sent at once: the second must follow soon.
    Sent anew where the program was not done with its turn, although the answer stood there: the first ended that."""
    for _ in range(6):
        screen.press("C-c", "C-c")
        if screen.ends(SECONDS / 6):
            break
    return screen.exit_code()


def say(screen: Screen, text: str, answer: str) -> None:
    screen.wait(PROMPT)
    screen.type(text)
    screen.wait(f"{text}[\\s\\S]*{answer}")


# --- the real program


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_a_headless_run_does_a_tool_call_and_prints_the_last_answer(stage: Stage, tls: bool) -> None:
    stage.tls = tls
    script = [
        {"say": "Looking.", "tools": [{"name": "Bash", "input": {"command": "echo mark-$((40+2)); pwd"}}]},
        {"either": [{"if_result_matches": "mark-42\\n/workspace", "say": "it printed mark-42"}, {"say": "no"}]},
    ]
    launch = launch_of(stage.program, "-p", "please look", tty=False, headless=True)
    done = stage.run(script, launch)
    assert (done.returncode, done.stdout.strip()) == (0, "it printed mark-42"), done.stderr
    assert all(seen["credential"] == REAL_KEY for seen in stage.turns())
    assert [name for name, _ in CLAUDE.transcript_files(stage.home, SESSION)] == [f"{PROJECT}/{SESSION}.jsonl"]


def test_a_session_opens_straight_at_its_prompt_and_ctrl_c_twice_exits_0(stage: Stage) -> None:
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        say(screen, "hello there", "first scripted answer")
        assert leave(screen) == 0
    assert "hello there" in texts(stage.turns()[-1])


def test_ctrl_d_twice_and_the_word_exit_leave_too(stage: Stage) -> None:
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        screen.wait(PROMPT)
        screen.press("C-d", "C-d")  # the second must follow soon, so both are sent at once
        assert screen.exit_code() == 0
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        screen.wait(PROMPT)
        screen.type("exit")
        assert screen.exit_code() == 0


def test_an_oauth_token_opens_straight_at_its_prompt_too(stage: Stage) -> None:
    token = "sk-ant-oat01-placeholder-placeholder"
    launch = launch_of(stage.program, placeholders={"CLAUDE_CODE_OAUTH_TOKEN": token})
    with stage.open(SIMPLE, launch) as screen:
        say(screen, "hello there", "login")
    assert {seen["credential"] for seen in stage.requests() if seen["kind"] == "refused"} == {f"Bearer {token}"}


def test_resume_goes_on_in_the_same_conversation_under_the_same_id(stage: Stage) -> None:
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        say(screen, "remember the walrus", "first scripted answer")
        assert leave(screen) == 0
    with stage.open([{"say": "after the resume"}], launch_of(stage.program, resume=True)) as screen:
        screen.wait("remember the walrus")
        say(screen, "and now", "after the resume")
        assert leave(screen) == 0
    newest = stage.turns()[-1]
    assert newest["conversation"] == SESSION
    assert "remember the walrus" in texts(newest)
    assert "first scripted answer" in texts(newest)
    assert CLAUDE.latest_session(stage.home) == SESSION


def test_a_conversation_can_be_resumed_in_a_fresh_home_from_its_transcript(stage: Stage, tmp_path: Path) -> None:
    done = stage.run(SIMPLE, launch_of(stage.program, "-p", "remember the walrus"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "other").mkdir()
    fresh = Stage(tmp_path / "other", stage.program)
    for relative, path in CLAUDE.transcript_files(stage.home, SESSION):
        (fresh.home / relative).parent.mkdir(parents=True)
        (fresh.home / relative).write_bytes(path.read_bytes())
    done = fresh.run([{"say": "still here"}], launch_of(stage.program, "-p", "go on", resume=True))
    assert done.stdout.strip() == "still here", done.stderr
    assert "remember the walrus" in texts(fresh.turns()[-1])


def test_clear_starts_a_new_conversation_that_latest_session_finds(stage: Stage) -> None:
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        say(screen, "number one", "first scripted answer")
        screen.type("/clear")
        eventually(lambda: "number one" not in screen.text())
        say(screen, "number two", "first scripted answer")
        assert leave(screen) == 0
    latest = CLAUDE.latest_session(stage.home)
    assert latest not in (None, SESSION)
    assert latest == stage.turns()[-1]["conversation"]


def test_a_session_without_a_word_leaves_no_conversation_to_resume(stage: Stage) -> None:
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        screen.wait(PROMPT)
        assert leave(screen) == 0
    assert CLAUDE.transcript_files(stage.home, SESSION) == []


def test_a_prompt_and_a_model_that_begin_with_a_dash_reach_the_model_as_they_are(stage: Stage) -> None:
    launch = launch_of(stage.program, "-p", "hi", prompt_text="--version is a walrus", model="-odd-model")
    done = stage.run([{"say": "well", "repeat": True}], launch)
    assert done.stdout.strip() == "well", done.stderr
    newest = stage.turns()[-1]["body"]
    assert "--version is a walrus" in json.dumps(newest["system"])
    assert newest["model"] == "-odd-model"


def test_a_real_session_asks_its_api_for_nothing_but_turns(stage: Stage) -> None:
    """No titles, quota checks, telemetry or update checks: the `anthropic` preset can stay that narrow."""
    with stage.open(SIMPLE, launch_of(stage.program)) as screen:
        say(screen, "hello there", "first scripted answer")
        assert leave(screen) == 0
    assert {(seen["kind"], seen["path"].split("?")[0]) for seen in stage.requests()} - {("probe", "/api/hello")} == {
        ("turn", "/v1/messages")
    }


# --- the command


def test_the_command_is_the_contracts_with_the_operators_arguments_last(program: Program) -> None:
    launch = launch_of(program, "-p", "hi", model="sonnet", prompt_text="Be brief.", remote_control=True)
    assert CLAUDE.command(launch) == [
        "/opt/claude/claude", "--dangerously-skip-permissions", "--remote-control", "--model=sonnet",
        '--mcp-config={"mcpServers":{"bottle":{"type":"http","url":"http://bottle.internal/mcp","timeout":604800000}}}',
        f"--append-system-prompt={BRIEF}\n\nBe brief.", "--session-id", SESSION, "-p", "hi",
    ]  # fmt: skip
    resumed = CLAUDE.command(launch_of(program, resume=True))
    assert resumed[-2:] == ["--resume", SESSION]


def test_remote_control_never_takes_the_next_word_for_its_name(program: Program) -> None:
    launch = launch_of(program, "a prompt", remote_control=True)
    argv = CLAUDE.command(launch)
    assert argv[argv.index("--remote-control") + 1].startswith("--")


def test_placeholders_get_the_prefix_that_belongs_to_their_variable() -> None:
    assert CLAUDE.placeholder_prefix("ANTHROPIC_API_KEY").startswith("sk-ant-api")
    assert CLAUDE.placeholder_prefix("CLAUDE_CODE_OAUTH_TOKEN").startswith("sk-ant-oat")
    assert CLAUDE.placeholder_prefix("GITHUB_TOKEN") == ""


# --- the home, written by a hostile agent


def seed(home: Path, **options: Any) -> None:
    CLAUDE.seed(home, launch_of(Program("1", (), "/opt/claude/claude"), **options))


def config(home: Path) -> dict[str, Any]:
    found = json.loads((home / ".claude.json").read_text())
    assert isinstance(found, dict)
    return found


def test_seeding_twice_changes_nothing(tmp_path: Path) -> None:
    seed(tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    seed(tmp_path)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_seeding_keeps_what_the_agent_has(tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text(json.dumps({"theme": "light", "projects": {"/other": {"a": 1}}}))
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps({"env": {"A": "1"}}))
    seed(tmp_path)
    assert config(tmp_path)["theme"] == "light"
    assert config(tmp_path)["projects"]["/other"] == {"a": 1}
    assert config(tmp_path)["projects"]["/workspace"]["hasTrustDialogAccepted"] is True
    assert json.loads((tmp_path / ".claude" / "settings.json").read_text())["env"] == {"A": "1"}


def test_only_the_newest_placeholder_is_an_approved_key(tmp_path: Path) -> None:
    seed(tmp_path, placeholders={"ANTHROPIC_API_KEY": "sk-ant-api03-" + "a" * 40})
    seed(tmp_path, placeholders={"ANTHROPIC_API_KEY": "sk-ant-api03-" + "b" * 40})
    assert config(tmp_path)["customApiKeyResponses"] == {"approved": ["b" * 20], "rejected": []}


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"projects": 7}', b'{"projects": {"/workspace": []}}', b"[" * 100_000],
)
def test_broken_settings_are_replaced(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / ".claude.json").write_bytes(broken)
    seed(tmp_path)
    assert config(tmp_path)["projects"]["/workspace"]["hasTrustDialogAccepted"] is True


def test_oversized_settings_are_not_read_into_memory_but_replaced(tmp_path: Path) -> None:
    with (tmp_path / ".claude.json").open("wb") as file:
        file.truncate(1 << 40)
    seed(tmp_path)
    assert config(tmp_path)["hasCompletedOnboarding"] is True


@pytest.mark.parametrize("name", [".claude.json", ".claude", ".claude/settings.json"])
def test_no_link_in_the_home_is_followed_for_reading_or_writing(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    home = tmp_path / "home"
    (home / name).parent.mkdir(parents=True)
    canary = outside / ("settings.json" if name == ".claude" else "canary")
    outside.mkdir()
    canary.write_text('{"canary": true}')
    (home / name).symlink_to(outside if name == ".claude" else canary)
    seed(home)
    assert canary.read_text() == '{"canary": true}'
    assert os.listdir(outside) == [canary.name]
    assert "canary" not in (home / ".claude.json").read_text()
    assert not (home / ".claude").is_symlink()
    assert "canary" not in (home / ".claude" / "settings.json").read_text()


def test_what_stands_in_the_way_is_moved_aside_not_deleted(tmp_path: Path) -> None:
    (tmp_path / ".claude.json").mkdir()
    (tmp_path / ".claude.json" / "work").write_text("the agent's")
    (tmp_path / ".claude").write_text("a file")
    seed(tmp_path)
    assert config(tmp_path)["hasCompletedOnboarding"] is True
    assert [path.read_text() for path in tmp_path.glob(".claude.json.broken-*/work")] == ["the agent's"]
    assert [path.read_text() for path in tmp_path.glob(".claude.broken-*")] == ["a file"]


def test_a_fifo_in_place_of_the_settings_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".claude.json")
    seed(tmp_path)
    assert config(tmp_path)["hasCompletedOnboarding"] is True


def test_a_directory_closed_to_its_owner_is_opened_again(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir(mode=0)
    seed(tmp_path)
    assert (tmp_path / ".claude").stat().st_mode & 0o700 == 0o700
    assert json.loads((tmp_path / ".claude" / "settings.json").read_text())["skipDangerousModePermissionPrompt"]


def test_transcripts_reached_by_links_do_not_exist(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{SESSION}.jsonl").write_text("{}")
    home = tmp_path / "home"
    (home / PROJECT).parent.mkdir(parents=True)
    (home / PROJECT).symlink_to(outside)
    assert CLAUDE.transcript_files(home, SESSION) == []
    assert CLAUDE.latest_session(home) is None
    (home / PROJECT).unlink()
    (home / PROJECT).mkdir()
    (home / PROJECT / f"{SESSION}.jsonl").symlink_to(outside / f"{SESSION}.jsonl")
    assert CLAUDE.transcript_files(home, SESSION) == []
    assert CLAUDE.latest_session(home) is None


def test_a_transcript_is_conversation_only(tmp_path: Path) -> None:
    project = tmp_path / PROJECT
    (project / SESSION / "subagents").mkdir(parents=True)
    for name in (f"{SESSION}.jsonl", f"{SESSION}/subagents/agent-a1.jsonl", f"{SESSION}/subagents/notes.txt"):
        (project / name).write_text("{}")
    (project / f"{uuid.uuid4()}.jsonl").write_text("{}")
    seed(tmp_path)
    assert [name for name, _ in CLAUDE.transcript_files(tmp_path, SESSION)] == [
        f"{PROJECT}/{SESSION}.jsonl",
        f"{PROJECT}/{SESSION}/subagents/agent-a1.jsonl",
    ]


def test_the_latest_session_is_the_one_written_to_last_and_has_a_uuid_for_a_name(tmp_path: Path) -> None:
    project = tmp_path / PROJECT
    project.mkdir(parents=True)
    older, newer = str(uuid.uuid4()), str(uuid.uuid4())
    for at, name in ((1, f"{newer}.jsonl"), (0, f"{older}.jsonl"), (9, "--resume.jsonl"), (9, f"{older}.jsonl\n")):
        (project / name).write_text("{}")
        os.utime(project / name, (1000 + at, 1000 + at))
    assert CLAUDE.latest_session(tmp_path) == newer


def test_a_session_id_that_is_no_uuid_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(BottleError, match="not one of Claude Code's"):
        CLAUDE.transcript_files(tmp_path, "../../outside")
