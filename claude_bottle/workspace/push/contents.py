"""What the new commits change, path by path: which files would run somewhere, which names and links are traps.

Every new commit counts, not only the last: what one adds and the next takes away is in the history for good. A merge
counts by what it has of neither parent. Git's own checks of names and of .gitmodules (fsck) have passed before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from claude_bottle.redact import printable
from claude_bottle.workspace.push.quarantine import Quarantine, Refuse
from claude_bottle.workspace.triggers import leads, of_pushed

LINK, SUBMODULE = "120000", "160000"  # modes
MAX_LINK = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NULL, _GONE = "0" * 40, "000000"
# What a submodule may be fetched with; ext::, file://, paths of the host, options and odd bytes are none of these.
_URL = re.compile(rb"(?:https://|ssh://|git://|http://|\.\.?/|git@)[!-~]{1,500}")
_OPTION = re.compile(rb"[./]*-")


class Change(NamedTuple):
    """A path as a commit leaves it; the mode and id of what is not there any more are zeros."""

    path: str
    mode: str
    id: str


def changes(quarantine: Quarantine, commits: Sequence[str]) -> Iterator[Change]:
    """All changes of the commits. A path that is not UTF-8 keeps its bytes as surrogates."""
    asked = "".join(f"{one}\n" for one in commits).encode()
    words = ["diff-tree", "--stdin", "-r", "-c", "--root", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-commit-id",
             "--no-ext-diff", "--no-textconv", "--ignore-submodules=none"]  # fmt: skip
    parts = quarantine.run(*words, input=asked).split(b"\0")
    at = 0
    while at + 1 < len(parts):
        head, path = parts[at].decode("ascii", "replace"), parts[at + 1].decode("utf-8", "surrogateescape")
        parents = len(head) - len(head.lstrip(":"))
        fields = head.lstrip(":").split(" ")
        if parents == 0 or len(fields) != 2 * parents + 3:
            raise Refuse("the changes of the push cannot be read")
        yield Change(path, fields[parents], fields[2 * parents + 1])
        at += 2


def examine(quarantine: Quarantine, found: Sequence[Change], tips: Sequence[str]) -> dict[str, list[str]]:
    """Paths by the trigger they are, for an approval. Refuse for what no approval helps. `tips`: the commits pushed."""
    named: dict[str, set[str]] = {}
    links = {change.id for change in found if change.mode == LINK}
    targets = {one.id: data for one, data in quarantine.contents(sorted(links)) if one.size <= MAX_LINK} if links else {}
    for change in found:
        if _CONTROL.search(change.path):
            raise Refuse(f"a file's name has control characters: {change.path!r}")
        for trigger in of_pushed(change.path):
            named.setdefault(trigger, set()).add(change.path)
        if change.mode == SUBMODULE:
            named.setdefault("submodule", set()).add(change.path)
        if change.mode == LINK:
            _check_link(change, targets.get(change.id))
    _check_twins(quarantine, found, tips)
    _check_modules(quarantine, found)
    return {trigger: sorted(paths) for trigger, paths in sorted(named.items())}


def diff(quarantine: Quarantine, commits: Sequence[str], paths: Sequence[str]) -> str:
    """All that the commits do to these paths, as text, printable."""
    asked = "".join(f"{one}\n" for one in commits).encode()
    words = ["--literal-pathspecs", "diff-tree", "--stdin", "-p", "-r", "-c", "--root", "--no-commit-id", "--no-color",
             "--no-ext-diff", "--no-textconv", "--no-renames", "--full-index", "--", *paths]  # fmt: skip
    text = quarantine.run(*words, input=asked).decode("utf-8", "replace")
    return "\n".join(printable(line.replace("\t", "    ")) for line in text.rstrip("\n").split("\n"))


def _check_link(change: Change, target: bytes | None) -> None:
    if target is None:
        raise Refuse(f"{change.path} is a symbolic link that is too long")
    if b"\0" in target or leads(change.path, target.decode("utf-8", "surrogateescape")):
        raise Refuse(f"{change.path} is a symbolic link that leads out of the repository, or into .git")


def _check_twins(quarantine: Quarantine, found: Sequence[Change], tips: Sequence[str]) -> None:
    """A link and a path that some file systems take for one lead a checkout astray (CVE-2021-21300). What was so before
    is not this push's doing."""
    changed = {change.path for change in found if change.mode != _GONE}
    trees = [changes_of_tree(quarantine, tip) for tip in tips]
    for tree in [list(found), *trees]:
        links = {change.path.casefold(): change.path for change in tree if change.mode in (LINK, SUBMODULE)}
        for path in (change.path for change in tree if links and change.mode != _GONE):
            parts = path.split("/")
            for above in ("/".join(parts[:count]) for count in range(1, len(parts) + 1)):
                twin = links.get(above.casefold(), above)
                if twin != above and (path in changed or twin in changed):
                    raise Refuse(f"{above} and the link {twin} differ in nothing but upper and lower case")


def changes_of_tree(quarantine: Quarantine, tip: str) -> list[Change]:
    """Everything in the tree of a commit."""
    entries = quarantine.run("ls-tree", "-r", "-z", "--full-tree", tip).split(b"\0")[:-1]
    made = []
    for entry in entries:
        head, _, path = entry.partition(b"\t")
        mode, _, one = head.decode("ascii", "replace").split(" ")
        made.append(Change(path.decode("utf-8", "surrogateescape"), mode, one))
    return made


def _check_modules(quarantine: Quarantine, found: Sequence[Change]) -> None:
    """Submodules from nowhere but the network, at a plain path, updated in no way of their own (CVE-2025-48384, and the
    history of git's fsck)."""
    for change in found:
        if change.path.casefold() != ".gitmodules" or change.id == _NULL:
            continue
        if change.mode == LINK:
            raise Refuse(".gitmodules is a symbolic link")
        try:
            out = quarantine.run("config", "--blob", change.id, "--list", "-z")
        except Exception:
            raise Refuse(".gitmodules cannot be read") from None
        for pair in out.split(b"\0"):
            key, _, value = pair.partition(b"\n")
            last = key.rpartition(b".")[2].lower()
            if any(byte < 0x20 or byte == 0x7F for byte in value + key):
                raise Refuse(".gitmodules has control characters in it")
            if last == b"url" and not _URL.fullmatch(value):
                shown = value[:100].decode("utf-8", "replace")
                raise Refuse(f".gitmodules names what is no address of a repository: {shown}")
            if last == b"path" and (_OPTION.match(value) or value.startswith(b"/") or b".." in value.split(b"/")):
                raise Refuse(".gitmodules names an odd path")
            if last == b"update" and value not in (b"checkout", b"rebase", b"merge", b"none"):
                raise Refuse(".gitmodules names a command")
