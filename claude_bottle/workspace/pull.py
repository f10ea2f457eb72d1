"""Brings a bottle's commits into the operator's repository, as the branch `bottle/<identity>`, through two repositories of
ours.

1. What looks like objects is copied out of the bottle's `.git` as data: loose objects and packs by name, no links, nothing
   that the operator's repository has already. No config, hook, index, alternates or attributes come along; every pack is
   indexed anew.
2. From there the wanted commits travel by git's own protocol into a second repository, which checks every object (fsck) and
   that nothing is missing. The only alternates are the operator's own objects.
3. The pack that came is put among the operator's objects, and one ref is written (`host_repository`). git opens neither the
   operator's repository nor the bottle's, so no hook and no setting of either is used.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.workspace import sparse
from claude_bottle.workspace.committed import borrowing
from claude_bottle.workspace.directory import opened
from claude_bottle.workspace.host_repository import HostRepository
from claude_bottle.workspace.quarantine import Quarantine
from claude_bottle.workspace.refs import GIT, Refs, read
from claude_bottle.workspace.work import Tree

MAX_OBJECTS, MAX_PACKS, MAX_BYTES, MAX_BRANCHES = 500_000, 2_000, 8 << 30, 100
_FAN = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}(?:[0-9a-f]{24})?")
_PACK = re.compile(r"pack-[0-9a-f]{40}(?:[0-9a-f]{24})?\.pack")
_ODD = re.compile(r"[^A-Za-z0-9._/-]+|(?<=/)\.|^\.|\.\.|\.lock$|/$")


class Pulled(NamedTuple):
    """What came: ref in the bottle → branch here; how many commits were new; path → blob at the checked-out tip."""

    branches: dict[str, str]
    commits: int
    files: dict[str, str]


def pull(
    quarantine: Quarantine, result: Tree, before: Refs, host: HostRepository, identity: str, *, force: bool
) -> Pulled:  # fmt: skip
    """Bring what moved since `before`. BottleError when it is damaged or incomplete, Refused where a branch of that name
    holds something else (and not `force`)."""
    refs = read(result)
    tips = dict(refs.tips) | {"HEAD": refs.tip}
    wanted = branches(refs, identity, before, host.refs().without(f"refs/heads/bottle/{identity}"))
    if not wanted:
        raise BottleError("there is nothing to pull", why="no branch of the bottle's repository has new commits",
                          do="claude-bottle diff shows what was changed in the files")  # fmt: skip
    incoming, checked = (borrowing(quarantine, name, host) for name in ("incoming", "checked"))
    _Incoming(result, incoming, host).run()
    for index, ref in enumerate(wanted):
        _write_ref(incoming, f"heads/w{index}", tips[ref])
    _note_known(checked, before)
    _fetch(checked, incoming)
    count = int(checked.run("rev-list", "--count", "--branches", "--not", "--glob=refs/known").out)
    host.take_packs(checked.git / "objects" / "pack")
    for ref, branch in wanted.items():
        host.set_branch(branch, tips[ref], lambda old, new: _is_ancestor(checked, old, new), force=force)
    return Pulled(wanted, count, _files(checked, refs.tip))


def branches(refs: Refs, identity: str, *known: Refs) -> dict[str, str]:
    """What stands in the bottle where nothing known does → what it is called here: `bottle/<identity>` for what is checked
    out, `…--<name>` for others."""
    found: dict[str, str] = {}
    tips = dict(refs.tips) | {"HEAD": refs.tip}
    current = refs.head if refs.head.startswith("refs/") else "HEAD"
    for ref in sorted(refs.moved(*known), key=lambda name: (name != current, name))[:MAX_BRANCHES]:
        if tips[ref] in {tips[other] for other in found}:
            continue  # one name is enough
        name = f"bottle/{identity}"
        if ref not in (refs.head, "HEAD"):
            name += "--" + _ODD.sub("-", ref.removeprefix("refs/heads/").removeprefix("refs/"))[:150].rstrip("/.")
        while name in found.values():
            name += "-"
        found[ref] = name
    return found


class _Incoming:
    """Copies what looks like objects out of the bottle's repository."""

    def __init__(self, result: Tree, into: Quarantine, host: HostRepository) -> None:
        self._result, self._into, self._host = result, into, host
        self._count = self._size = 0

    def run(self) -> None:
        objects = self._into.git / "objects"
        for fan in filter(_FAN.fullmatch, self._result.names(f"{GIT}/objects")):
            (objects / fan).mkdir(exist_ok=True)
            for name in filter(_LOOSE.fullmatch, self._result.names(f"{GIT}/objects/{fan}")):
                if not (self._host.objects / fan / name).exists():
                    self._copy(f"{fan}/{name}")
        (objects / "pack").mkdir(exist_ok=True)
        packs = [name for name in self._result.names(f"{GIT}/objects/pack") if _PACK.fullmatch(name)]
        if len(packs) > MAX_PACKS:
            raise _too_large(f"more than {MAX_PACKS} packs")
        for name in packs:
            if not (self._host.objects / "pack" / name).exists():
                self._copy(f"pack/{name}")
                done = self._into.run("index-pack", str(objects / "pack" / name), check=False)
                if done.code != 0:
                    raise _damaged(done.err)

    def _copy(self, name: str) -> None:
        self._count += 1
        if self._count > MAX_OBJECTS:
            raise _too_large(f"more than {MAX_OBJECTS} new objects")
        try:
            with (
                opened(self._result, f"{GIT}/objects/{name}") as reading,
                open(self._into.git / "objects" / name, "xb", buffering=0) as writing,
            ):
                if self._size + os.fstat(reading).st_blocks * 512 > MAX_BYTES:
                    raise _too_large(f"more than {MAX_BYTES >> 30} GiB")
                self._size += sparse.copy(reading, writing.fileno())
        except OSError:
            return  # no regular file: where it is needed, git says what is missing


def _note_known(checked: Quarantine, before: Refs) -> None:
    """Let it know which commits the operator has, so that only new ones travel and are judged."""
    ids = sorted({tip for _, tip in before.tips} | ({before.tip} if before.tip else set()))
    asked = checked.run("cat-file", "--batch-check", input="".join(f"{one}^{{commit}}\n" for one in ids).encode())
    for index, line in enumerate(asked.out.splitlines()):
        words = line.split()
        if len(words) == 3 and words[1] == b"commit":
            _write_ref(checked, f"known/{index}", words[0].decode())


def _write_ref(repository: Quarantine, name: str, commit: str) -> None:
    place = repository.git / "refs" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{commit}\n")


def _fetch(into: Quarantine, source: Quarantine) -> None:
    words = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules", "--end-of-options"]
    done = into.run("fetch", *words, str(source.git), "+refs/heads/w*:refs/heads/w*", check=False)
    if done.code != 0:
        raise _damaged(done.err)


def _too_large(why: str) -> BottleError:
    return BottleError("the bottle's repository is too large to pull", why=why)


def _damaged(said: bytes) -> BottleError:
    lines = printable(said.decode(errors="replace"), keep_newlines=True).strip().splitlines()[-5:]
    return BottleError("the bottle's commits are refused: they are damaged or incomplete", why="\n".join(lines),
                       do="claude-bottle apply carries its files over without them")  # fmt: skip


def _is_ancestor(checked: Quarantine, old: str, new: str) -> bool:
    return checked.run("merge-base", "--is-ancestor", old, new, check=False).code == 0


def _files(checked: Quarantine, tip: str) -> dict[str, str]:
    found = {}
    done = checked.run("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tip, check=False) if tip else None
    for line in done.out.split(b"\0") if done else ():
        about, _, path = line.partition(b"\t")
        if path:
            found[os.fsdecode(path)] = about.split()[2].decode()
    return found
