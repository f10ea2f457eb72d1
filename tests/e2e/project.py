"""A user's project in a temp directory: manifest, state root, scripted model, and the command line as a user types it.

Everything goes through `python -m claude_bottle` in a child process, with real Claude Code in a real bottle; the
package is never imported here, so these tests hold whatever is behind the contract.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest

from claude_bottle.testing.model_script import parse
from claude_bottle.testing.model_server import Recorded, ScriptedModel
from tests.docker_engine import Engine
from tests.waiting import SECONDS, hang_up

KEY = "sk-ant-real-key-the-bottle-must-never-see"
CLI = [sys.executable, "-m", "claude_bottle"]
MANIFEST: dict[str, Any] = {
    "version": 1,
    "bottles": {"model": {"egress": [{"preset": "scripted-model"}]}, "closed": {}},
    "agents": {
        "claude": {"bottle": "model", "harness": "claude"},
        "shell": {"bottle": "model", "harness": "shell"},
        "closed": {"bottle": "closed", "harness": "shell"},
    },
}
REPLIES = [{"say": "It is noted.", "when": "remember", "repeat": True}, {"say": "Hello {user}", "repeat": True}]


@dataclass(frozen=True)
class Containers:
    """A container engine to run bottles on, and the image that theirs are made from."""

    engine: Engine
    base: str


class Project:
    """One operator, one project directory, one scripted model; on bubblewrap, or on `containers`."""

    def __init__(
        self, place: Path, tools: Path, turns: list[dict[str, Any]] | None = None, *, containers: Containers | None = None
    ) -> None:
        self.containers = containers
        self.place, self.home = place / "project", place / "bottle-home"
        self.operator, self.tmp = place / "operator", place / "tmp"
        for folder in (self.place, self.operator, self.tmp):
            folder.mkdir()
        self.here = "127.0.0.1"
        """This machine's loopback, as gates see it."""
        self._stack = ExitStack()
        script = parse({"turns": turns or [], "fallback": REPLIES})
        (place / "model").mkdir()
        self.model = self._stack.enter_context(
            ScriptedModel(script, keys=[KEY], tls=True, directory=place / "model", record=place / "requests.jsonl")
        )
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.operator),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "CLAUDE_BOTTLE_HOME": str(self.home),
            "CLAUDE_BOTTLE_TOOLS": str(tools),
            "SCRIPTED_MODEL_KEY": KEY,
        } | {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "NPM_", "SSL_"))}
        self._terminals: list[pexpect.spawn[str]] = []
        self.write(MANIFEST)
        self.configure({"model.bottle.test:443": f"127.0.0.1:{self.model.port}"})
        if containers:
            self.env |= {**containers.engine.settings, "CLAUDE_BOTTLE_BACKEND": "docker"}
            self.settings("image.json", {"base": containers.base})

    def write(self, manifest: dict[str, Any] | str) -> None:
        """Put the manifest in place and trust it, as its author would."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest, indent=2)
        (self.place / "claude-bottle.json").write_text(text)

    def configure(self, upstreams: dict[str, str]) -> None:
        entries = {name: {"connect": address, "ca": str(self.model.ca_file)} for name, address in upstreams.items()}
        self.settings("config.json", {"upstreams": entries})

    def place_gate(self, where: str) -> None:
        """Have gates run there. A private daemon's containers find this machine's loopback at the address slirp4netns
        has for it."""
        if self.containers and where == "container":
            if not self.containers.engine.private:
                pytest.skip("cannot run here: a container of this daemon does not reach the scripted model")
            self.here = "10.0.2.2"
            self.configure({"model.bottle.test:443": f"{self.here}:{self.model.port}"})
        else:
            self.here = "127.0.0.1"
        said = json.loads((self.home / "config.json").read_text())
        self.settings("config.json", {**said, "gate": where})

    def settings(self, name: str, content: dict[str, Any]) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        (self.home / name).write_text(json.dumps(content))
        (self.home / name).chmod(0o600)

    def trust(self) -> None:
        self.do("trust", "--yes")

    def files(self) -> list[str]:
        """Everything that a command may leave behind: in the state root, the operator's home, the temp directory."""
        return sorted(str(path) for place in (self.home, self.operator, self.tmp) for path in place.rglob("*"))

    def run(self, *argv: str, input: str | None = None, timeout: float = 2 * SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *argv], cwd=self.place, env=self.env, input=input, timeout=timeout, text=True, capture_output=True,
            stdin=subprocess.DEVNULL if input is None else None, start_new_session=True, check=False,
        )  # fmt: skip

    def do(self, *argv: str) -> str:
        """A command that must succeed; its stdout."""
        done = self.run(*argv)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def terminal(self, *argv: str, columns: int = 100, rows: int = 30) -> pexpect.spawn[str]:
        """The same in a terminal of its own."""
        child: pexpect.spawn[str] = pexpect.spawn(
            CLI[0], [*CLI[1:], *argv], cwd=str(self.place), env=self.env, encoding="utf-8", codec_errors="replace",
            dimensions=(rows, columns), timeout=SECONDS,
        )  # fmt: skip
        self._terminals.append(child)
        return child

    def session(self, *argv: str) -> pexpect.spawn[str]:
        """A started and attached Claude session, at its prompt."""
        child = self.terminal(*(argv or ("start", "claude", "--yes")))
        child.expect("attaching interactive claude session")
        child.expect("bypass.{1,40}permissions")
        return child

    def ask(self, child: pexpect.spawn[str], text: str, answer: str = "Hello|noted") -> None:
        """Type a prompt and wait until the model's answer is on the screen."""
        before = len(self.model.turns)
        submit(child, text)
        self.model.wait_for(lambda _: len(self.model.turns) > before, SECONDS)
        child.expect(answer)

    def listing(self, *flags: str) -> list[dict[str, Any]]:
        data = json.loads(self.do("ls", "--all", "--json", *flags))
        rows: list[dict[str, Any]] = data["bottles"] if isinstance(data, dict) else data
        return rows

    def only(self) -> dict[str, Any]:
        rows = self.listing()
        assert len(rows) == 1, rows
        return rows[0]

    def record(self, identity: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.home / "state" / identity / "record.json").read_text())
        return loaded

    def objects(self) -> list[str]:
        """Containers and volumes that the engine holds of this state root, by name."""
        return sorted([*self._found("ps", "--all", "--format={{.Names}}"), *self._found("volume", "ls", "--quiet")])

    def living(self, identity: str) -> list[object]:
        """What still runs of a bottle: processes that name it, containers."""
        return [*processes(identity), *self._found("ps", f"--filter=name={identity}", "--format={{.Names}}")]

    def _found(self, *words: str) -> list[str]:
        owner = self.home / "installation"
        if self.containers is None or not owner.exists():
            return []
        wanted = f"--filter=label=claude-bottle.installation={owner.read_text().strip()}"
        return self.containers.engine.docker(*words, wanted).split()

    def close(self) -> None:
        """End what still runs and remove what was preserved."""
        for child in self._terminals:
            hang_up(child)
        if (self.home / "state").is_dir():
            for row in self.listing():
                if row.get("status") in ("running", "starting", "settling"):
                    self.run("stop", row["identity"])
        if self.containers:
            self.do("cleanup", "--all", "--yes")
        self._stack.close()

    @property
    def seen(self) -> list[Recorded]:
        return self.model.turns


def submit(child: pexpect.spawn[str], text: str) -> None:
    """Type a line; return is pressed once the program shows it (together they would be a paste with a line end in it).
    It may move the cursor instead of writing blanks."""
    child.send(text)
    child.expect(r"(?:\s|\x1b\[[0-9;?]*[A-Za-z])*".join(map(re.escape, text.replace(" ", ""))))
    child.send("\r")


def processes(needle: str) -> list[int]:
    """Living processes whose command line has `needle`."""
    return list(_found(needle))


def command_lines(needle: str) -> list[str]:
    """Their command lines."""
    return list(_found(needle).values())


def _found(needle: str) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if needle in line and state != "Z" and int(entry.name) != os.getpid():
                found[int(entry.name)] = line
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
