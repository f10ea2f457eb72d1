"""From bytes to a typed document: fast when all is well, thorough when not.

The good path is `json.loads`, which alone can see doubled keys, and msgspec's strict conversion. Only
when one of them refuses is `explain` imported, to find everything that is wrong and keep what can still be
judged, so that all problems come at once. Nothing is guessed: a document with a problem is never used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_bottle.patterns import regex
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import ManifestDoc
    from claude_bottle.state.positions import Path

_SURROGATE = regex(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Loaded:
    """A typed document. After problems it is what was left of it: `dropped` are the paths taken out,
    `names` says which bottles, agents and credentials the file itself defines, so that no problem causes a
    second one."""

    doc: ManifestDoc
    data: dict[str, Any]
    dropped: frozenset[Path] = field(default_factory=frozenset)

    def damaged(self, path: Path) -> bool:
        """Whether something at or below `path` was taken out, so that judging it would mislead."""
        return any(gone[: len(path)] == path for gone in self.dropped)

    def has(self, *path: str) -> bool:
        """Whether the file defines `path`, be it broken."""
        here: Any = self.data
        for step in path:
            if not isinstance(here, dict) or step not in here:
                return False
            here = here[step]
        return True


class _NotPlain(ValueError):
    """JSON, but with a doubled key."""


def decode(raw: bytes, report: Report) -> str | None:
    """The text of a file, which the report then knows too; None (and a problem) when it is not plain
    UTF-8."""
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        report.problem((), "the file begins with a byte order mark", "save it as UTF-8 without BOM", offset=0)
        return None
    try:
        report.text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        report.text = raw[: problem.start].decode("utf-8")
        report.problem((), "the file is not UTF-8 from here on", "save it as UTF-8", offset=problem.start)
        return None
    return report.text


def load(raw: bytes, report: Report) -> Loaded | None:
    """The typed document in `raw`. Problems go to the report; None when nothing is left to judge further."""
    import json

    from claude_bottle.manifest import typed
    from claude_bottle.manifest.shape import ManifestDoc

    text = decode(raw, report)
    if text is None:
        return None
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates)
        if _SURROGATE.search(text):
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        return Loaded(typed.convert(data, ManifestDoc), data)
    except (
        ValueError,
        RecursionError,
    ) as refused:  # includes JSONDecodeError, UnicodeEncodeError, ValidationError
        from claude_bottle.manifest.explain import explain

        return explain(text, str(refused), report)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _NotPlain("a key is there twice")
    return made
