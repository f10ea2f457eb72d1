"""What a bottle may do with git repositories on a host: fetch them, and push to the refs that are named.

Part of a rule; checks itself when made, so what exists is sound. A ref pattern is a whole name below refs/heads/ or
refs/tags/, with one `*` at its end at most; anything else (notes, replace refs, pull requests, HEAD) cannot be
pushed at all. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from claude_bottle.model.ssh_remote import SshRemote
from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

MAX_PACK, LEAST_PACK, MOST_PACK = 50 << 20, 1 << 10, 2 << 30
MAX_NAMED = 64
MAX_REF = 255

_SEGMENT = regex(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_PLACES = ("refs/heads/", "refs/tags/")
# git-check-ref-format(1), and no character that a terminal, a shell or a case-folding forge could read otherwise.
_REF = regex(r"refs(/[A-Za-z0-9_+=,#][A-Za-z0-9._+=,#@-]*)+")
_ID = regex(r"[0-9a-f]{40}")
_SIZE = regex(r"([0-9]{1,12})([kmg]?)", re.IGNORECASE)
_FINDING = regex(r"[A-Za-z0-9_-]{1,80}:[0-9a-f]{40}:[0-9]{1,9}")
FILES = "files that run by themselves"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class GitGrant:
    """`repositories`: paths like "acme/shop", `*` for one segment. `push`: patterns of the refs that may be pushed, none for
    no pushing. `force`: a branch may lose commits; `delete`: a ref may be deleted. `max_pack`: bytes of one push. `sign`: new
    commits are signed on their way, as the operator's git would. `ssh`: how the remote is reached, None for https."""

    repositories: tuple[str, ...]
    fetch: bool = True
    push: tuple[str, ...] = ()
    force: bool = False
    delete: bool = False
    max_pack: int = MAX_PACK
    sign: bool = False
    ssh: SshRemote | None = None
    approved: tuple[str, ...] = ()
    """Commits whose files that run by themselves the operator has approved. Such a section is no grant, but the answer to
    that one question about pushes that another one grants."""
    let_through: tuple[str, ...] = ()
    """With `approved`, what of them is: FILES, and findings that look like secrets and are none. Nothing: the files."""

    def __post_init__(self) -> None:
        for name in ("repositories", "push"):
            words = getattr(self, name)
            if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{name} must be a list of words")
            if len(words) > MAX_NAMED:
                raise ValueError(f"name at most {MAX_NAMED} {name}")
        object.__setattr__(self, "repositories", tuple(check_repository(one) for one in self.repositories))
        object.__setattr__(self, "push", tuple(check_pattern(one) for one in self.push))
        if not all(isinstance(one, bool) for one in (self.fetch, self.force, self.delete, self.sign)):
            raise ValueError("fetch, force, delete and sign are true or false")
        if not self.repositories:
            raise ValueError("no repository is named")
        if type(self.max_pack) is not int or not LEAST_PACK <= self.max_pack <= MOST_PACK:
            raise ValueError("max_pack is a size from 1k to 2g")
        if not self.push and (self.force or self.delete or self.sign):
            raise ValueError("force, delete and sign are for what may be pushed: name the refs in push")
        if self.ssh is not None and not isinstance(self.ssh, SshRemote):
            object.__setattr__(self, "ssh", SshRemote.from_dict(self.ssh))
        if not isinstance(self.approved, (list, tuple)) or not all(
            isinstance(one, str) and _ID.fullmatch(one) for one in self.approved
        ):
            raise ValueError("approved is a list of commits")
        object.__setattr__(self, "approved", tuple(self.approved))
        if not isinstance(self.let_through, (list, tuple)) or not all(
            isinstance(one, str) and (one == FILES or is_finding(one)) for one in self.let_through
        ) or (self.let_through and not self.approved):  # fmt: skip
            raise ValueError("let_through is a list of findings in approved commits")
        object.__setattr__(self, "let_through", tuple(self.let_through))
        if not self.fetch and not self.push:
            raise ValueError("neither fetch nor push: it grants nothing")

    @staticmethod
    def in_rule(git: object, rule: Rule) -> GitGrant:
        """The git section of `rule`, itself or as `to_dict` gave it. ValueError when they do not go together."""
        grant = git if isinstance(git, GitGrant) else GitGrant.from_dict(git)
        if rule.methods or rule.paths:
            raise ValueError("a rule with git grants git alone: write methods and paths in a rule of their own")
        if rule.tls != "inspect" or rule.port == 80:
            raise ValueError("git is judged inside TLS: no tunnel, no plain http (port 80)")
        if grant.ssh and rule.credential:
            raise ValueError("a remote that is reached by ssh takes no credential: it is signed in to with a key")
        return grant

    @property
    def lifts_files(self) -> bool:
        """Whether files that run by themselves are what was approved."""
        return bool(self.approved) and (not self.let_through or FILES in self.let_through)

    def names(self, repository: str) -> bool:
        """Whether `repository` (without `.git`) is one of those named."""
        return any(_fits(one, repository) for one in self.repositories)

    def approves(self, repository: str, commands: Iterable[tuple[str, str, str]]) -> bool:
        """Whether these (old, new, ref) are what was approved."""
        return bool(self.approved) and self.names(repository) and all(
            self.may_push(ref) and (new in self.approved or not new.strip("0")) for _, new, ref in commands
        )

    def may_push(self, ref: str) -> bool:
        return is_ref(ref) and any(matches(pattern, ref) for pattern in self.push)

    def covers(self, other: GitGrant) -> bool:
        """Whether all that `other` grants is granted here."""
        return (
            all(any(_fits(mine, one) for mine in self.repositories) for one in other.repositories)
            and (self.fetch or not other.fetch)
            and all(any(matches(mine, one) for mine in self.push) for one in other.push)
            and (self.force or not other.force)
            and (self.delete or not other.delete)
            and (self.sign == other.sign or not other.push) and self.ssh == other.ssh
            and set(self.let_through) == set(other.let_through)
            and (self.max_pack >= other.max_pack or not other.push) and set(self.approved) == set(other.approved)
        )

    def meet(self, other: GitGrant) -> GitGrant | None:
        """What both grant; None for nothing. Whether commits are signed is ours to say, as a credential is: a key is none of
        the other's."""
        repositories = _both(self.repositories, other.repositories, _fits)
        push = _both(self.push, other.push, matches)
        fetch = self.fetch and other.fetch
        if not repositories or not (fetch or push) or self.ssh != other.ssh:
            return None
        return GitGrant(
            repositories, fetch, push, bool(push) and self.force and other.force, bool(push) and self.delete and other.delete,
            min(self.max_pack, other.max_pack), bool(push) and self.sign, self.ssh,
        )  # fmt: skip

    def describe(self) -> str:
        """`fetch acme/shop; push refs/heads/bottle/* (new commits only, at most 50m)`."""
        if self.approved:
            what = [FILES] if self.lifts_files else []
            what += [f"{one}, which is no secret" for one in self.let_through if one != FILES]
            return f"git: approved {'; '.join(what)} of {', '.join(one[:10] for one in self.approved)}"
        said = ["fetch"] if self.fetch else []
        if self.push:
            extra = [word for word, on in (("rewriting history", self.force), ("deleting", self.delete)) if on]
            kind = f"with {' and '.join(extra)}" if extra else "new commits only"
            signed = ", signed with your key" if self.sign else ""
            said.append(f"push {', '.join(self.push)} ({kind}, at most {size_text(self.max_pack)}{signed})")
        way = f", {self.ssh.describe()}" if self.ssh else ""
        return f"git: {'; '.join(said)} in {', '.join(self.repositories)}{way}"

    def to_dict(self) -> dict[str, object]:
        return {
            "repositories": list(self.repositories), "fetch": self.fetch, "push": list(self.push), "force": self.force,
            "delete": self.delete, "max_pack": self.max_pack,
            **({"sign": True} if self.sign else {}), **({"ssh": self.ssh.to_dict()} if self.ssh else {}),
            **({"approved": list(self.approved)} if self.approved else {}),
            **({"let_through": list(self.let_through)} if self.let_through else {}),
        }  # fmt: skip

    @staticmethod
    def from_dict(data: object) -> GitGrant:
        """The inverse of `to_dict`. ValueError for what is none."""
        if not isinstance(data, dict):
            raise ValueError("git must be an object")
        try:
            return GitGrant(**data)
        except TypeError:
            raise ValueError("not a git section: wrong types, unknown or missing keys") from None


def check_repository(path: str) -> str:
    """The path of a repository as it is compared: without slashes at its ends and without `.git`."""
    text = path.removesuffix("/").removesuffix(".git").removeprefix("/")
    parts = text.split("/")
    if len(path) > 200 or not all(part == "*" or _SEGMENT.fullmatch(part) for part in parts) or parts[0] == "*":
        raise ValueError('a repository is its path on the host, like "acme/shop"; * stands for one segment, not the first')
    return text


def check_pattern(pattern: str) -> str:
    plain = pattern.removesuffix("*")
    place = next((one for one in _PLACES if plain.startswith(one)), None)
    if place is None or "*" in plain:
        raise ValueError('a ref is a whole name below refs/heads/ or refs/tags/, like "refs/heads/bottle/*"')
    if pattern == f"{place}*" or not is_ref(f"{plain}x" if pattern != plain else plain):
        raise ValueError(f'not a ref to push to: name more of it, like "{place}bottle/*"')
    return pattern


def is_ref(name: str) -> bool:
    """Whether it is a ref that a push may name at all."""
    return (
        len(name) <= MAX_REF and bool(_REF.fullmatch(name)) and ".." not in name
        and not any(part.endswith((".", ".lock")) for part in name.split("/"))
    )  # fmt: skip


def is_finding(key: str) -> bool:
    """Whether it names a finding for good: a rule, an object's id, a line."""
    return bool(_FINDING.fullmatch(key))


def matches(pattern: str, ref: str) -> bool:
    """Whether the pattern covers a ref (or all that another pattern covers)."""
    if pattern.endswith("*"):
        return ref.startswith(pattern[:-1]) and len(ref) > len(pattern) - 1
    return ref == pattern


def size(text: str) -> int:
    """Bytes of a size like 50m. ValueError for none."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError('not a size, like "50m"')
    return int(found[1]) * _UNITS[found[2].lower()]


def size_text(count: int) -> str:
    for unit in "gmk":
        if count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)


def _fits(pattern: str, path: str) -> bool:
    wanted, parts = pattern.split("/"), path.split("/")
    return len(wanted) == len(parts) and all(
        part != "" and want in ("*", part) for want, part in zip(wanted, parts, strict=True)
    )


def _both(one: Collection[str], other: Collection[str], covers: Callable[[str, str], bool]) -> tuple[str, ...]:
    """Those of either that the other covers too."""
    mine = [word for word in other if any(covers(wide, word) for wide in one)]
    theirs = [word for word in one if any(covers(wide, word) for wide in other)]
    return tuple(dict.fromkeys(mine + theirs))
