"""The setting `registries`: where the operator's layers are built from instead of the public registries.

A corporate mirror, or a test's own. Read with the rest of `config.json`; what is wrong with it goes to its problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from claude_bottle.model.hosts import BadHost
from claude_bottle.state.config import Registry
from claude_bottle.state.config_problems import ConfigProblems, step

_KINDS = ("apt", "pip", "npm", "cargo", "go")
# It ends up in the arguments and settings files of other programs: nothing but a plain address.
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~+-]+)*/?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}|\./")
_OF_APT = ("suites", "components", "keyring")

ReadFile = Callable[[str, object], str | None]


def registries(value: object, problems: ConfigProblems, read_file: ReadFile) -> dict[str, Registry]:
    """Those of `value` that are sound; what is not goes to `problems`. `read_file(where, value)` gives an existing path."""
    found: dict[str, Registry] = {}
    if not isinstance(value, dict):
        problems.add("registries", 'expected an object: {"pip": {"url": "https://mirror.example.com/simple"}}')
        return found
    for kind, entry in value.items():
        where = f"registries.{step(kind)}"
        if kind not in _KINDS:
            problems.add(where, f"unknown key; known are {', '.join(_KINDS)}")
        elif not isinstance(entry, dict):
            problems.add(where, 'expected an object: {"url": "https://mirror.example.com/simple"}')
        elif (registry := _registry(kind, where, entry, problems, read_file)) is not None:
            found[kind] = registry
    return found


def _registry(
    kind: str, where: str, entry: dict[str, object], problems: ConfigProblems, read_file: ReadFile
) -> Registry | None:  # fmt: skip
    known = ("url", *_OF_APT) if kind == "apt" else ("url",)
    before = len(problems)
    for key in entry:
        if key not in known:
            problems.add(f"{where}.{step(key)}", f"unknown key; known are {', '.join(known)}")
    url = entry.get("url")
    if not isinstance(url, str) or not _URL.fullmatch(url):
        problems.add(f"{where}.url", "expected a plain http or https address")
        return None
    made = Registry(url, _words(f"{where}.suites", entry.get("suites", []), problems),
                    _words(f"{where}.components", entry.get("components", []), problems),
                    read_file(f"{where}.keyring", entry["keyring"]) if "keyring" in entry else None)  # fmt: skip
    try:
        made.place()
    except BadHost as bad:
        problems.add(f"{where}.url", bad.reason)
    if kind == "apt" and not made.suites:
        problems.add(f"{where}.suites", 'expected a list, like ["bookworm"]')
    return made if len(problems) == before else None


def _words(where: str, value: object, problems: ConfigProblems) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and _WORD.fullmatch(word) for word in value):
        problems.add(where, "expected a list of plain words")
        return ()
    return tuple(value)
