"""What the client of a push is told, in the form that its git shows: pure text, without anything that it must not learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from claude_bottle.gate import inject
from claude_bottle.gate.answer import response
from claude_bottle.model import pktline

if TYPE_CHECKING:
    from claude_bottle.model.push import Asked, Command

_KIND = b"application/x-git-receive-pack-result"
Results = Sequence[tuple[str, str]]


def answer(asked: Asked, results: Results, said: str, secrets: Iterable[bytes], unpack: str = "ok") -> bytes:
    """The whole HTTP answer: why not by ref ("" where it is done), and the words that are shown."""
    for secret in (one.decode("latin-1") for one in secrets):
        mark = inject.REDACTED.decode()
        said, unpack = said.replace(secret, mark), unpack.replace(secret, mark)
        results = [(ref, why.replace(secret, mark)) for ref, why in results]
    text = pktline.answer(results, said, bands=asked.bands, status=asked.status, unpack=unpack)
    return response(200, _KIND, text, close=True)


def nothing_asked() -> bytes:
    """The answer to git's question whether it may push at all."""
    return response(200, _KIND, b"", close=True)


def refused(lines: Iterable[str], attempt: str) -> str:
    return "\n".join(["claude-bottle: the push is refused, all of it:", *(f"  {line}" for line in lines),
                      f"  ({attempt}; what is granted: curl http://bottle.internal/policy)"])  # fmt: skip


def signed(commands: Iterable[Command], made: Mapping[str, str], results: Mapping[str, str]) -> str:
    """What became of commits that were made anew; "" where none was."""
    moved = [one for one in commands if one.new in made and results.get(one.ref) == ""]
    if not moved:
        return ""
    lines = [f"  {one.ref}: your {one.new[:12]} is {made[one.new]} there" for one in moved]
    name = moved[0].ref.removeprefix("refs/heads/")
    return "\n".join(["claude-bottle: the new commits were signed on their way; the remote has them with other ids:", *lines,
                      f"  to go on from them: git fetch origin {name} && git reset --keep FETCH_HEAD"]) + "\n"  # fmt: skip
