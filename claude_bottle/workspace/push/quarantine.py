"""The repository a push is judged in: bare, fresh, made by us; only git's plumbing runs on it.

No configuration of the system or the user, no hooks, attributes, replace refs, helpers, prompts or protocols. What was
received lies in its own object directory, the remote's history in another one beside it, so what is new is what lies
here and not there. May touch: its own directory, and programs through `proc`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from claude_bottle import proc
from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.proc import Popen

# A bound for what hangs; whoever started the judge has one for the whole.
SECONDS = 600.0
_SETTINGS = (
    "core.hooksPath=/dev/null", "core.attributesFile=/dev/null", "core.excludesFile=/dev/null", "core.fsmonitor=false",
    "core.alternateRefsCommand=true", "core.bigFileThreshold=16m", "core.packedGitLimit=512m",
    "core.packedGitWindowSize=32m", "core.deltaBaseCacheLimit=64m", "core.multiPackIndex=false", "core.commitGraph=false",
    "gc.auto=0", "maintenance.auto=false",
    "pack.threads=1", "pack.windowMemory=64m", "pack.deltaCacheSize=32m", "protocol.allow=never", "credential.helper=",
    "submodule.recurse=false", "transfer.fsckObjects=true", "core.quotePath=false",
)  # fmt: skip
# The largest single allocation of git's (wrapper.c), for what a pack's headers claim.
_ALLOCATION = "1g"


class Refuse(Exception):
    """The push is refused; the text says why, to both sides. `ref` when it is about one; `needs`: what an approval would
    be of, where one helps."""

    def __init__(self, why: str, ref: str = "", needs: dict[str, object] | None = None) -> None:
        super().__init__(why)
        self.why, self.ref, self.needs = why, ref, needs


class Tools(NamedTuple):
    """Absolute paths of the programs: git, and gitleaks."""

    git: str
    gitleaks: str


class Object(NamedTuple):
    id: str
    kind: str
    size: int


class Quarantine:
    """`place`: a private directory, empty; `history`: where the objects are that the remote has."""

    def __init__(self, tools: Tools, place: Path, history: Path) -> None:
        self.tools, self.place, self.history = tools, place, history
        self.directory = place / "quarantine"
        self._errors = place / "errors"
        self.history.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = ["--bare", "--template=", "--object-format=sha1", "--initial-branch=none", str(self.directory)]
        self.run("init", "--quiet", *made)

    def environment(self, *, history: bool = False) -> dict[str, str]:
        """`history`: the remote's objects alone."""
        objects = self.history if history else self.directory / "objects"
        made = {
            "PATH": os.path.dirname(self.tools.git), "HOME": str(self.place), "LC_ALL": "C", "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_ALLOC_LIMIT": _ALLOCATION,
            "GIT_DIR": str(self.directory), "GIT_OBJECT_DIRECTORY": str(objects),
        }  # fmt: skip
        return made if history else made | {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.history)}

    def argv(self, *words: str) -> list[str]:
        return [self.tools.git, *(part for one in _SETTINGS for part in ("-c", one)), *words]

    def run(self, *words: str, input: bytes | None = None, history: bool = False) -> bytes:
        """What git prints. BottleError when it fails."""
        env = self.environment(history=history)
        return proc.run(self.argv(*words), input=input, env=env, cwd=self.place, timeout=SECONDS).out

    def holds(self, *words: str) -> bool:
        """Whether git ends with 0, where 1 says no. BottleError for anything else."""
        done = proc.run(self.argv(*words), env=self.environment(), cwd=self.place, timeout=SECONDS, check=False)
        if done.code not in (0, 1):
            raise proc.failed(done)
        return done.code == 0

    def feeding(self, *words: str, history: bool = False) -> Fed:
        """A git that reads its input piece by piece."""
        return Fed(self.argv(*words), self.environment(history=history), self.place, self._errors)

    def reading(self, *words: str, input: IO[bytes] | int = proc.DEVNULL) -> Popen[bytes]:
        """A git whose output is read piece by piece."""
        return proc.popen(self.argv(*words), env=self.environment(), cwd=self.place, stdin=input, stdout=proc.PIPE,
                          stderr=proc.DEVNULL)  # fmt: skip

    def objects(self, ids: Iterable[str], *, history: bool = False) -> dict[str, Object]:
        """Those of `ids` that are there."""
        asked = "".join(f"{one}\n" for one in ids).encode()
        out = self.run("cat-file", "--batch-check", "--buffer", input=asked, history=history).decode("ascii", "replace")
        words = (line.split(" ") for line in out.splitlines())
        return {line[0]: Object(line[0], line[1], int(line[2])) for line in words if len(line) == 3}

    def received(self) -> set[str]:
        """The ids of all objects in the packs that lie here."""
        found: set[str] = set()
        for index in (self.directory / "objects" / "pack").glob("*.idx"):
            out = self.run("show-index", input=index.read_bytes()).decode("ascii", "replace")
            found.update(line.split(" ")[1] for line in out.splitlines())
        return found

    def contents(self, ids: Iterable[str]) -> Iterator[tuple[Object, bytes]]:
        """Each object with what it holds, one at a time."""
        asked = self.place / "asked"
        asked.write_text("".join(f"{one}\n" for one in ids))
        with asked.open("rb") as file:
            git = self.reading("cat-file", "--batch", "--buffer", input=file)
        with git:
            out = git.stdout
            while out and (line := out.readline()):
                words = line.decode("ascii", "replace").split()
                if len(words) != 3:
                    raise BottleError("an object cannot be read")
                one = Object(words[0], words[1], int(words[2]))
                data = out.read(one.size)
                if len(data) != one.size or out.read(1) != b"\n":
                    raise BottleError("an object cannot be read")
                yield one, data


class Fed:
    """A program with its input open; what it says of errors is kept."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, errors: Path) -> None:
        self._errors = errors.open("w+b")
        self._process = proc.popen(argv, env=env, cwd=cwd, stdin=proc.PIPE, stdout=proc.DEVNULL, stderr=self._errors)
        self._broken = False

    def feed(self, data: bytes | memoryview) -> None:
        """A program that has ended takes no more; why, `end` tells."""
        if self._process.stdin and not self._broken:
            try:
                self._process.stdin.write(data)
            except BrokenPipeError:
                self._broken = True

    def end(self) -> str:
        """Its last line about an error, "" when all is well."""
        if self._process.stdin:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                self._broken = True
        code = self._process.wait(SECONDS)
        with self._errors as file:
            file.seek(0)
            said = [line.strip() for line in file.read(1 << 16).decode("utf-8", "replace").splitlines() if line.strip()]
        if code == 0:
            return ""
        telling = [line for line in said if line.startswith(("error: ", "fatal: "))] or said
        if code < 0:
            return f"it was ended by signal {-code}: the pack wants more than it may use"
        return "; ".join(telling[:3])[:500] or f"exit code {code}"
