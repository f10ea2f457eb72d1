"""An operator who runs bottles by the command line, as one person on one backend, and a running bottle to attack from.

`Operator` types commands in its `World`; `Bottle` runs programs inside: whole commands through `exec`, and Python
programs through a server that one long `exec` keeps inside, each in a fresh interpreter. Nothing here knows what a
backend is: its name goes to `--backend` and that is all.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.attack.world import (
    ABSENT,
    API,
    DATABASE,
    GIT,
    INWARD,
    OTHER,
    PLAIN,
    REBOUND,
    STRANGE,
    TUNNEL,
    Beside,
    World,
)
from tests.docker_engine import Engine
from tests.git_remote import TOKEN
from tests.ordinary_user import Person
from tests.waiting import SECONDS, whole_lines

SECRET = "sk-the-operators-own-6f1d93"
CANARY = "canary-7f3a91-of-the-operator"
CREDENTIAL = {"from": {"env": "API_SECRET"}, "env": "API_KEY", "header": "x-api-key"}
EGRESS: list[dict[str, Any]] = [
    {"host": API, "methods": ["GET", "POST"], "paths": ["/v1/**"], "credential": "api"},
    {"host": OTHER},
    {"host": TUNNEL, "tls": "tunnel"},
    {"host": PLAIN, "port": 80},
    {"host": DATABASE, "port": 5432, "tls": "tunnel"},
    {"host": API, "port": 8443, "methods": ["GET"], "paths": ["/v2/*"]},
    *({"host": host} for host in (*STRANGE, *INWARD, REBOUND, ABSENT)),
    *({"host": host, "port": 80} for host in (*INWARD, REBOUND)),
]
PUSHING = {"host": GIT, "credential": "git",
           "git": {"repositories": ["acme/*"], "push": ["refs/heads/bottle/*"], "max_pack": "4m"}}  # fmt: skip
SMALL_MEMORY, SMALL_PIDS, SMALL_DISK = 192 << 20, 64, 16 << 20
MANIFEST: dict[str, Any] = {
    "version": 1,
    "bottles": {
        "open": {"egress": EGRESS, "credentials": {"api": CREDENTIAL}}, "closed": {},
        "small": {"limits": {"memory": f"{SMALL_MEMORY >> 20}m", "pids": SMALL_PIDS}},
        "narrow": {"limits": {"disk": f"{SMALL_DISK >> 20}m"}},
        "git": {"egress": [PUSHING], "credentials": {"git": {**CREDENTIAL, "from": {"env": "GIT_SECRET"}, "env": "GIT_TOKEN",
                                                             "header": "Authorization"}}},
    },
    "agents": {name: {"bottle": bottle, "harness": "shell"} for name, bottle in
               (("shell", "open"), ("closed", "closed"), ("small", "small"), ("narrow", "narrow"), ("git", "git"))},
}
# Where a backend is not like the others, as docs/threats.md says: a test whose words depend on it asks `Operator.lacks`.
OWN_USERS, OWN_UID, HIDDEN_PROC = "own user namespace", "uid 1000 for everybody", "no host path of a mount, no kernel words"
# A backend whose gate runs in a container beside the bottle's, on the engine's network instead of this host's.
APART = "docker, gate in a container"
_OF_CONTAINERS = frozenset({OWN_USERS, OWN_UID, HIDDEN_PROC})
LACKING = {"bubblewrap": frozenset[str](), "docker": _OF_CONTAINERS, APART: _OF_CONTAINERS}
_SERVER = r"""
import json, subprocess, sys, tempfile
for line in sys.stdin:
    # Files, not pipes: what a program leaves running keeps nobody waiting.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = subprocess.run([sys.executable, "-I", "-"], input=json.loads(line).encode(), stdout=out, stderr=err).returncode
        said = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
    print(json.dumps([code, *said]), flush=True)
"""


class Operator:
    """One person at one project, with a state root of their own. `kind`: a backend, or APART."""

    def __init__(self, person: Person, world: World, kind: str) -> None:
        self.person, self.kind, backend = person, kind, kind.split(",")[0]
        self.world = world
        self.place, self.home = person.directory("project"), person.directory("state")
        self.shown = person.directory("shown")
        manifest = json.loads(json.dumps(MANIFEST))
        manifest["bottles"]["open"]["mounts"] = [{"source": str(self.shown), "target": "/data", "mode": "ro"}]
        self.write(manifest)
        self.configure({"ca": str(world.ca_file)})
        self.env = {
            **person.environment(), "CLAUDE_BOTTLE_HOME": str(self.home), "CLAUDE_BOTTLE_BACKEND": backend,
            "API_SECRET": SECRET, "OPERATORS_OWN": CANARY, "GIT_SECRET": TOKEN,
        }  # fmt: skip

    def may_use(self, engine: Engine, base: str) -> None:
        """Let this person use a container engine, whose bottles are made from the image `base`."""
        prefix = tuple(f"--groups={engine.group}" if word == "--clear-groups" else word for word in self.person.prefix)
        self.person = replace(self.person, prefix=prefix)
        self.env |= {**engine.settings, "DOCKER_CONFIG": str(self.person.directory("client"))}
        self.put(self.home / "image.json", json.dumps({"base": base}))
        if isinstance(self.world, Beside):
            self.env["PATH"] = f"{self.world.client}:{self.env['PATH']}"

    def lacks(self, what: str) -> bool:
        return what in LACKING[self.kind]

    @property
    def uid_inside(self) -> int:
        return self.person.uid if self.person.uid and self.lacks(OWN_UID) else 1000

    def write(self, manifest: dict[str, Any] | str) -> None:
        self.put(self.place / "claude-bottle.json", manifest if isinstance(manifest, str) else json.dumps(manifest))

    def configure(self, settings: dict[str, Any]) -> None:
        place = {"gate": "container"} if self.kind == APART else {}
        self.put(self.home / "config.json", json.dumps(settings | place))

    def put(self, file: Path, text: str) -> None:
        """A file of theirs, for nobody else."""
        file.write_text(text)
        file.chmod(0o600)
        os.chown(file, self.person.uid, self.person.gid)

    def argv(self, *words: str) -> list[str]:
        command = self.person.module("claude_bottle", *words)
        return self.world.entry.argv(self.person.prefix, self.place, command)

    def run(self, *words: str, input: str | None = None, timeout: float = 2 * SECONDS) -> subprocess.CompletedProcess[str]:
        """A command and its answer; nothing is checked. It inherits a directory that no bottle may see."""
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return subprocess.run(
                self.argv(*words), env=self.env, input=input, timeout=timeout, text=True, capture_output=True, check=False,
                stdin=subprocess.DEVNULL if input is None else None, start_new_session=True, pass_fds=[root],
            )  # fmt: skip
        finally:
            os.close(root)

    def do(self, *words: str) -> str:
        """A command that must succeed; its stdout."""
        done = self.run(*words)
        if done.returncode != 0:
            raise AssertionError(f"{words}: {done.stderr}")
        return done.stdout

    def trust(self) -> None:
        self.do("trust", "--yes")

    def beside(self, name: str, text: str) -> str:
        """A further file of the project; its name."""
        self.put(self.place / name, text)
        return name

    def refused_bottles(self, bottles: list[Any]) -> list[int]:
        """Which of these manifest bottles `manifest check` finds a problem with, by index."""
        document = {"version": 1, "bottles": {f"b{number}": one for number, one in enumerate(bottles)}, "agents": {}}
        said = self.run("manifest", "check", self.beside("checked.json", json.dumps(document))).stderr
        return sorted({int(number) for number in re.findall(r": bottles\.b(\d+)\b", said)})

    def start(self, agent: str = "shell", *command: str) -> Bottle:
        """A running bottle; its agent is `command`, or sleeps."""
        words = command or ("/usr/bin/sleep", "infinity")
        return Bottle(self, self.do("start", agent, "--yes", "--detach", "--", *words).split()[-1])

    def kill_gate(self, identity: str) -> None:
        if isinstance(self.world, Beside):
            self.world.kill(f"claude-bottle-{identity}-gate")
            return
        (gate,) = [pid for pid, title in titles(identity) if "gate" in title]
        os.kill(gate, signal.SIGKILL)

    def listing(self) -> dict[str, dict[str, Any]]:
        rows = json.loads(self.do("ls", "--all", "--json"))["bottles"]
        return {row["identity"]: row for row in rows}

    def state(self, identity: str) -> Path:
        return self.home / "state" / identity

    def journal(self, identity: str) -> list[dict[str, Any]]:
        return whole_lines(self.state(identity) / "journal.jsonl")


class Bottle:
    """A running one."""

    def __init__(self, operator: Operator, identity: str) -> None:
        self.operator, self.world, self.identity = operator, operator.world, identity
        self._server: subprocess.Popen[str] | None = None

    def exec(self, *argv: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside; nothing is checked."""
        return self.operator.run("exec", self.identity, "--", *argv, input=input)

    def python(self, source: str) -> Any:
        """What a Python program, run inside, printed as JSON."""
        if self._server is None:
            argv = self.operator.argv("exec", self.identity, "--", "/usr/bin/python3", "-I", "-c", _SERVER)
            self._server = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.operator.env
            )
        stdin, stdout = self._server.stdin, self._server.stdout
        if stdin is None or stdout is None:
            raise AssertionError("no pipes")
        stdin.write(json.dumps(source) + "\n")
        stdin.flush()
        code, out, err = json.loads(stdout.readline() or '[-1, "", "the server inside is gone"]')
        if code != 0:
            raise AssertionError(f"the program inside failed ({code}): {err}")
        return json.loads(out)

    def decisions(self) -> list[dict[str, Any]]:
        """What the gate decided so far, of names, connections and requests, from the journal. Its keeper writes it there:
        whoever had the gate's answer may look before that."""
        return [line["data"] for line in self.operator.journal(self.identity) if line["kind"] in ("decision", "dns")]

    def __enter__(self) -> Bottle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take it down, whatever it did."""
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            self._server.wait(SECONDS)
            self._server = None
        self.operator.run("stop", self.identity)


def titles(identity: str) -> list[tuple[int, str]]:
    """(process id, title) of the living keeper and gate of an identity."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, NotADirectoryError):
            continue
        if title.startswith("claude_bottle.") and title.endswith(identity):
            found.append((int(entry.name), title))
    return found
