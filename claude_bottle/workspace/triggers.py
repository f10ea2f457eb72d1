"""What would run later, without anybody calling it by name: found in the changes, by kind.

A table of names (`trigger_names`) and a few looks inside. It errs on the side of too much where work comes to the operator's
machine: a change listed here needs one word more (`--allow`), one that is missing needs none. Of a push only what runs by
being there counts: what is built is reviewed at the remote. Pure; names are compared without regard to case, since some file
systems have none, at any depth, since tools look in every directory they are pointed at.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import NamedTuple

from claude_bottle.workspace.trigger_names import TABLE
from claude_bottle.workspace.work import DIRECTORY, FILE, LINK, SET_ID, Change, is_repository

SETUID, LINKS = "setuid", "links"
NAMES = (*TABLE, SETUID, LINKS)
# What package.json may change without anything running differently.
_IDLE_KEYS = frozenset({"name", "version", "description", "keywords", "author", "license", "homepage", "bugs", "contributors",
                        "repository", "funding", "private"})  # fmt: skip


def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    def one(pattern: str) -> str:
        return "".join({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char) for char in pattern)

    below = "|".join(one(pattern[:-1]) for pattern in patterns if pattern.endswith("/"))
    last = "|".join(one(pattern) for pattern in patterns if not pattern.endswith("/"))
    return re.compile(rf"(?:.*/)?(?:(?:{below or '(?!)'})(?:/.*)?|(?:{last or '(?!)'}))", re.DOTALL)


_BY_BEING_THERE = {name: _expression(tuple(there.split())) for name, (_, there, _) in TABLE.items() if there}
_EXPRESSIONS = {name: _expression((*there.split(), *used.split())) for name, (_, there, used) in TABLE.items()}


class Trigger(NamedTuple):
    """Why a change would run later. `name` is what `--allow` takes; `why` is for people."""

    name: str
    why: str


def judge(change: Change, before: bytes | None, after: bytes | None) -> tuple[Trigger, ...]:
    """The triggers of a change. `before` and `after`: the file's content where it is at hand."""
    found: list[Trigger] = []
    if all(side is None or side.kind == DIRECTORY for side in change[1:]):
        return ()  # what is in it has its own
    path = _folded(change.path)
    for name, expression in _EXPRESSIONS.items():
        if expression.fullmatch(path):
            keys = _package_keys(before, after) if path.endswith("package.json") else None
            if keys != []:
                found.append(Trigger(name, ", ".join(keys) if keys else TABLE[name][0]))
    if change.after and change.after.kind == FILE and change.after.mode & SET_ID:
        found.append(Trigger(SETUID, "set-id bit, which is left behind"))
    if change.after and change.after.kind == LINK and (why := leads(change.path, change.after.link)):
        found.append(Trigger(LINKS, why))
    return tuple(found)


def of_pushed(path: str) -> tuple[str, ...]:
    """The names of the triggers that a path in a push is: those that run by being there."""
    folded = _folded(path)
    return tuple(name for name, expression in _BY_BEING_THERE.items() if expression.fullmatch(folded))


def _folded(path: str) -> str:
    """As a file system that knows no case, no trailing dots and no alternate streams would take it."""
    return "/".join(part.casefold().split(":")[0].rstrip(". ") or part for part in path.split("/"))


def leads(path: str, link: str) -> str:
    """Why a link is not plain: it leads out of the tree, or into a repository's own files; "" when it is."""
    if link.startswith("/"):
        return f"link to {link}"
    depth = path.count("/")
    for part in re.split("/+", link):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return f"link out of the tree, to {link}"
        if is_repository(part):
            return f"link into git's own files, to {link}"
    return ""


def _package_keys(before: bytes | None, after: bytes | None) -> list[str] | None:
    """What of a package.json changed that matters; None when it cannot be told, or it is gone or new."""
    if before is None or after is None:
        return None
    try:
        old, new = json.loads(before), json.loads(after)
    except (ValueError, RecursionError):
        return None
    if not isinstance(old, dict) or not isinstance(new, dict):
        return None
    found = []
    for key in sorted(old.keys() | new.keys()):
        if key in _IDLE_KEYS or old.get(key) == new.get(key):
            continue
        one, other = old.get(key), new.get(key)
        if key == "scripts" and isinstance(other, dict) and isinstance(one, dict | None):
            known = one or {}
            names = sorted(known.keys() | other.keys())
            found += [f'script "{name}"' for name in names if known.get(name) != other.get(name)]
        else:
            found.append(f'"{key}"')
    return found


_LAST = {pattern.rstrip("/").rpartition("/")[2] for _, *some in TABLE.values() for one in some for pattern in one.split()}
_WILD = {name for name in _LAST if "*" in name or "?" in name}
_WILDLY = re.compile("|".join(fnmatch.translate(name) for name in sorted(_WILD)))


def named(path: str, *, directory: bool = False) -> str:
    """The first trigger that a path has by its own name; "" for an ordinary one. Quick, for looks at whole trees."""
    last = _folded(path.rpartition("/")[2])
    if last not in _LAST and not _WILDLY.match(last):
        return ""
    folded = _folded(path) + ("/." if directory else "")
    return next((name for name, expression in _EXPRESSIONS.items() if expression.fullmatch(folded)), "")
