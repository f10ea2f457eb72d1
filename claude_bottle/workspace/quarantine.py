"""The only repository that git is ever run on here: a bare one of ours, made for the moment, in a private directory.

No system or user configuration, hooks, attributes, filters, helpers, prompts or replace refs; an environment of our own; only
files as protocol. What a bottle made comes in as plain content (`fast-import`), as copied objects or by fetching, never as
a directory that git would open as a repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from claude_bottle import proc
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.state.temporary import temporary_directory

SECONDS = 600.0
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.logAllRefUpdates": "false",
    "core.protectHFS": "false",  # names are judged by us; git shall be able to show every one of them
    "core.protectNTFS": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "fetch.unpackLimit": "1",
    "submodule.recurse": "false",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "core.alternateRefsCommand": "true",  # else git would look into the operator's repository for what it has
    "core.bigFileThreshold": "32m",
    "credential.helper": "",
    "fastimport.unpackLimit": "0",
}


class Quarantine:
    """One such repository. `directory` is private; `git` is its git directory."""

    def __init__(self, directory: Path, git: Path, program: str) -> None:
        self.directory, self.git, self._program = directory, git, program

    def run(
        self, *words: str, input: bytes | None = None, check: bool = True
    ) -> proc.Result:
        """git with these words on this repository."""
        env = environment(self.directory) | {"GIT_DIR": str(self.git)}
        return proc.run([self._program, *words], input=input, env=env, cwd=self.directory, timeout=SECONDS, check=check)

    def beside(self, name: str, *, sha256: bool = False) -> Quarantine:
        """Another one in the same private directory."""
        return _made(self.directory, name, self._program, sha256=sha256)


@contextmanager
def quarantine() -> Iterator[Quarantine]:
    """A new one, gone afterwards. EnvironmentLacks where there is no git."""
    program = proc.find("git")
    if program is None:
        raise EnvironmentLacks("git is not installed", why="it compares and merges changes", do="install git 2.39 or later")
    with temporary_directory() as place:
        yield _made(place, "repository", program)


def environment(home: Path) -> dict[str, str]:
    """What git gets to see: nothing of the operator's but where programs are."""
    return {
        "PATH": proc.search_path(),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "none"),
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "file",
    }


def _made(directory: Path, name: str, program: str, *, sha256: bool = False) -> Quarantine:
    made = Quarantine(directory, directory / name, program)
    kind = ["--object-format=sha256"] if sha256 else []
    made.run("init", "--quiet", "--bare", "--template=", *kind, str(made.git))
    sections: dict[str, list[str]] = {}
    for setting, value in _SETTINGS.items():
        section, _, key = setting.rpartition(".")
        sections.setdefault(section, []).append(f'\t{key} = "{value}"\n')
    text = "".join(f"{_heading(section)}\n{''.join(lines)}" for section, lines in sections.items())
    with open(made.git / "config", "a", encoding="ascii") as config:
        config.write(text)
    # Unborn, and never anything: newer versions of git take attributes from what HEAD names in a bare repository.
    (made.git / "HEAD").write_text("ref: refs/heads/none\n")
    return made


def _heading(section: str) -> str:
    name, _, sub = section.partition(".")
    return f'[{name} "{sub}"]' if sub else f"[{name}]"


def quoted(path: str) -> bytes:
    """A path as `fast-import` takes it: always in quotes, whatever bytes it has."""
    plain = os.fsencode(path)
    text = b"".join(bytes([b]) if 0x20 <= b < 0x7F and b not in b'"\\' else b"\\%03o" % b for b in plain)
    return b'"' + text + b'"'


def stream(branches: Mapping[str, Iterable[tuple[str, str, bytes]]]) -> bytes:
    """What to feed `fast-import` for a commit of each branch; each file is (path, mode, content)."""
    parts = []
    for branch, entries in branches.items():
        parts.append(f"commit refs/heads/{branch}\ncommitter x <x@x> 0 +0000\ndata 0\n\n".encode())
        for path, mode, data in entries:
            parts.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted(path), len(data), data))
    return b"".join([*parts, b"done\n"])
