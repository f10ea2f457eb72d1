"""What a request to a git host asks for: which repository, fetched or pushed, or something that is git and is not granted.

Smart HTTP has four requests (gitprotocol-http(5)); only their one exact spelling is recognised as granted git. Whatever a
server could take for git besides (dumb protocol, LFS, archives, other spellings of the query) is recognised too, so that
it is refused in words and never slips through as an ordinary path. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.model.urlpath import readings
from claude_bottle.patterns import regex

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

FETCH, PUSH = "fetch", "push"
DUMB, LFS, ARCHIVE, ODD = "dumb", "lfs", "archive", "odd"
REFS, PACK = "refs", "pack"

_EXACT = regex(r"/([A-Za-z0-9_~-][A-Za-z0-9._~/-]*?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
_SERVICES = {"git-upload-pack": FETCH, "git-receive-pack": PUSH}
# On every reading of the path, letters of either case: servers differ.
_SMART = regex(r"/git-(?:upload-pack|receive-pack)(?:[/;.]|$)")
_ARCHIVE = regex(r"/git-upload-archive(?:[/;.]|$)")
_REFS = regex(r"/info/refs(?:[/;.]|$)")
_LFS = regex(r"/info/lfs(?:[/;.]|$)")
_DUMB = regex(r"\.git/(?:HEAD$|objects/|refs/|packed-refs|config$|info/)", re.IGNORECASE)

WORDS = {
    DUMB: "git's dumb protocol (files of the repository) is not served; use a git that speaks smart HTTP",
    LFS: "Git LFS is not served: objects outside of git would pass unjudged",
    ARCHIVE: "git archive of a remote is not served; fetch and archive here",
    ODD: "this is not a request of git's smart HTTP protocol",
}


class GitRequest(NamedTuple):
    """`kind`: FETCH or PUSH, with `repository` (no `.git`) and `step` (REFS: what is there; PACK: objects); or what is
    never granted, in WORDS."""

    kind: str
    repository: str = ""
    step: str = ""


def git_request(method: str, path: str, query: str | None) -> GitRequest | None:
    """What a request asks for; None when no server could take it for git. `path` is canonical."""
    ways = [way.lower() for way in readings(path)]
    if any(_LFS.search(way) for way in ways):
        return GitRequest(LFS)
    if any(_ARCHIVE.search(way) for way in ways) or (query and "upload-archive" in query.lower()):
        return GitRequest(ARCHIVE)
    if any(_SMART.search(way) for way in ways) or any(_REFS.search(way) for way in ways):
        return _smart(method, path, query)
    if any(_DUMB.search(way) for way in ways):
        return GitRequest(DUMB)
    return None


def _smart(method: str, path: str, query: str | None) -> GitRequest:
    found = _EXACT.fullmatch(path)
    if found is None:
        return GitRequest(ODD)
    repository, end = found[1], found[2]
    if end == "info/refs":
        if query is None:
            return GitRequest(DUMB)
        name, _, service = query.partition("=")
        if name == "service" and service in _SERVICES and method == "GET":
            return GitRequest(_SERVICES[service], repository, REFS)
        return GitRequest(ODD)
    if method == "POST" and query is None:
        return GitRequest(_SERVICES[end], repository, PACK)
    return GitRequest(ODD)


def granting(asked: GitRequest, rules: Iterable[Rule]) -> tuple[Rule | None, str]:
    """The rule for git that grants it, else None and the policy's reason. One with a credential counts first."""
    if asked.kind not in (FETCH, PUSH):
        return None, "git_refused"
    granted = [
        rule for rule in rules
        if rule.git and not rule.git.approved and rule.git.names(asked.repository)
        and (rule.git.fetch if asked.kind == FETCH else rule.git.push)
    ]  # fmt: skip
    if not granted:
        return None, "git_not_granted"
    return max(granted, key=lambda rule: (rule.credential is not None, repr(rule.git))), ""
