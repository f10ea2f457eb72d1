"""The harness for Claude Code.

It finds the operator's own `claude` or the pinned one in the tools directory, seeds a private home so that a
session opens straight at its prompt, and knows where the conversation lies. Facts about the program (files,
flags, prompts) were checked against version 2.1.330; docs/harness.md lists them. It reads and writes nothing
but the home it is given.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError
from claude_bottle.harness import base, claude_program, install
from claude_bottle.harness.agent_home import AgentHome, parse_object, whole_lines
from claude_bottle.harness.base import Launch, Program, Progress
from claude_bottle.harness.terminal_env import terminal_environment
from claude_bottle.model.asking import BRIEF, MCP_SERVER, MCP_URL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.state.paths import Paths

_CONFIG = ".claude.json"
_SETTINGS = ".claude/settings.json"
# Claude Code names a project's folder after its directory, every character but letters and digits turned into
# a dash.
_PROJECT = ".claude/projects/" + re.sub(r"[^A-Za-z0-9]", "-", base.WORKSPACE)
_JSON_LIMIT = 8 << 20
_CONVERSATION_LIMIT = 256 << 20
_SUBAGENT = re.compile(r"agent-[A-Za-z0-9_-]{1,64}\.jsonl")
_SESSION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl")
# How much of an API key Claude Code remembers as approved.
_KEY_TAIL = 20
# How the agent asks its operator. Beside whatever servers it is given or sets up itself (`--strict-mcp-config` would drop
# those): they run inside the bottle, with no more rights than it has.
# `timeout`: an operator may think for as long as they like (milliseconds; else a call that is silent for 5 minutes ends).
_MCP_SERVERS = {MCP_SERVER: {"type": "http", "url": MCP_URL, "timeout": 7 * 86_400_000}}
_MCP = json.dumps({"mcpServers": _MCP_SERVERS}, separators=(",", ":"))
_INTERRUPTED = "[Request interrupted by user"
_PREFIXES = {"ANTHROPIC_API_KEY": "sk-ant-api03-", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-"}


class Claude:
    name = "claude"
    supports_resume = True
    takes_skills = True

    def find(self, paths: Paths) -> Program | None:
        return claude_program.on_path() or claude_program.in_tools(paths.tools)

    def install(self, paths: Paths, progress: Progress) -> Program:
        if paths.tools.is_relative_to(paths.root):
            paths.ensure_root()
        install.install(claude_program.PIN, paths.tools, progress)
        return claude_program.require_runnable(paths.tools)

    def command(self, launch: Launch) -> list[str]:
        """Flags of ours come first, so that the operator's ARGS win where a flag is given twice. `--resume`
        keeps the session's id. Values that may begin with a dash are joined to their flag."""
        argv = [launch.program.argv0, "--dangerously-skip-permissions"]
        if launch.remote_control:
            argv.append("--remote-control")
        if launch.model:
            argv.append(f"--model={launch.model}")
        argv.append(f"--mcp-config={_MCP}")
        prompt = "\n\n".join(text for text in (BRIEF, launch.prompt_text) if text)
        argv.append(f"--append-system-prompt={prompt}")
        if launch.session_id:
            argv += ["--resume" if launch.resume else "--session-id", _session(launch.session_id)]
        note = [launch.note] if launch.note and launch.resume else []
        if note or launch.silent:
            from claude_bottle.harness.claude_arguments import without_prompt

            # Behind the id, which --resume takes: a prompt there starts a turn of its own.
            return [*argv, *note, *without_prompt(launch.args)]
        return [*argv, *launch.args]

    def environment(self, launch: Launch) -> dict[str, str]:
        return {
            **terminal_environment(launch.terminal, tty=launch.tty),
            "SHELL": "/bin/bash",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_INSTALLATION_CHECKS": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # After two minutes it would ask the model what to do while its operator has not decided.
            "CLAUDE_CODE_MCP_AUTO_BACKGROUND_MS": "86400000",
        }

    def seed(self, home: Path, launch: Launch) -> None:
        agent_home = AgentHome(home)
        _merge(agent_home, _CONFIG, lambda config: _seed_config(config, launch))
        _merge(agent_home, _SETTINGS, _seed_settings)
        for skill in launch.skills:
            for path, content, program in skill.files:
                agent_home.write(f".claude/skills/{skill.name}/{path}", content, 0o700 if program else 0o600)

    def transcript_files(self, home: Path, session_id: str) -> list[tuple[str, Path]]:
        session = _session(session_id)
        agent_home = AgentHome(home)
        names = {name for name, _ in agent_home.files(_PROJECT)}
        if f"{session}.jsonl" not in names:
            return []
        subagents = f"{_PROJECT}/{session}/subagents"
        found = [f"{_PROJECT}/{session}.jsonl"]
        found += [f"{subagents}/{n}" for n, _ in agent_home.files(subagents) if _SUBAGENT.fullmatch(n)]
        return [(relative, home / relative) for relative in found]

    def latest_session(self, home: Path) -> str | None:
        files = AgentHome(home).files(_PROJECT)
        sessions = [(stat.st_mtime_ns, m[1]) for name, stat in files if (m := _SESSION.fullmatch(name))]
        return max(sessions)[1] if sessions else None

    def ended_turns(self, lines: Iterable[bytes]) -> int:
        return sum(_ends_turn(line) for line in lines)

    def branch(self, home: Path, session_id: str, new_id: str) -> str:
        """Its file is named by the id, and every line of it says it."""
        old, new, agent_home = _session(session_id), _session(new_id), AgentHome(home)
        files = self.transcript_files(home, old)
        for relative, _ in files:
            data = agent_home.read(relative, _CONVERSATION_LIMIT)
            if data is None:
                raise BottleError("the conversation cannot go on", why="a file of it is too large or not readable")
            agent_home.write(relative.replace(old, new), whole_lines(data).replace(old.encode(), new.encode()))
        for relative, _ in files:
            agent_home.remove(relative)
        return new if files else new_id

    def placeholder_prefix(self, env_name: str) -> str:
        return _PREFIXES.get(env_name, "")


def _ends_turn(line: bytes) -> bool:
    """Whether the agent has said its last word of a turn here, or was interrupted. A sub-agent's words are no turn."""
    try:
        entry = json.loads(line)
        message = entry["message"]
        if entry.get("isSidechain"):
            return False
        if entry["type"] == "assistant":
            return message["stop_reason"] not in (None, "tool_use", "pause_turn")
        said = message["content"]
        text = said[0]["text"] if isinstance(said, list) else said
        return entry["type"] == "user" and isinstance(text, str) and text.startswith(_INTERRUPTED)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return False


def _session(text: str) -> str:
    """A conversation's id as Claude Code writes it. BottleError for what is none: a record may have been edited."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise BottleError("the id of the conversation is not one of Claude Code's", why=f"{text[:80]!r} is no UUID",
                          do="put a backup of record.json back") from None  # fmt: skip


def _merge(home: AgentHome, relative: str, change: Any) -> None:
    """Read, change and write back one JSON object; nothing is written when nothing changes."""
    before = home.read(relative, _JSON_LIMIT)
    data = parse_object(before)
    change(data)
    after = json.dumps(data, indent=2).encode()
    if after != before:
        home.write(relative, after)


def _seed_config(config: dict[str, Any], launch: Launch) -> None:
    config["hasCompletedOnboarding"] = True
    config["bypassPermissionsModeAccepted"] = True
    config.setdefault("theme", "dark")
    key = launch.placeholders.get("ANTHROPIC_API_KEY", "")
    if key:
        # Every key this home ever sees is a placeholder of ours, so the newest one is the only one to
        # approve.
        config["customApiKeyResponses"] = {"approved": [key[-_KEY_TAIL:]], "rejected": []}
    projects = _object(config, "projects")
    project = _object(projects, base.WORKSPACE)
    project["hasTrustDialogAccepted"] = True
    project["hasCompletedProjectOnboarding"] = True


def _seed_settings(settings: dict[str, Any]) -> None:
    settings["skipDangerousModePermissionPrompt"] = True


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    found: dict[str, Any] = parent[key]
    return found


HARNESS = Claude()
