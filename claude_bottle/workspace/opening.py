"""From an identity to its work: which kind of workspace it has, and what of it the operator has not got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.state.paths import Paths
    from claude_bottle.workspace.taken import Left
    from claude_bottle.workspace.work import Change, Work

_PLAN_LIMIT = 4 << 20


def _overlaid(paths: Paths, identity: str, _files: Path | int | None) -> Work:
    from claude_bottle.state import layers
    from claude_bottle.workspace import refs
    from claude_bottle.workspace.overlaid import OverlaidWork

    begun = layers.load(paths, identity)
    if begun is None:
        raise BottleError(f"the layers of {identity} are gone")
    try:
        return OverlaidWork(begun, refs.load(paths.base(identity)))
    except FileNotFoundError:
        return OverlaidWork(begun, refs.Handed())


def _has_layers(paths: Paths, identity: str) -> bool:
    from claude_bottle.state import layers

    return layers.load(paths, identity) is not None


def _copied(paths: Paths, identity: str, files: Path | int | None) -> Work:
    from claude_bottle.workspace.base import Base
    from claude_bottle.workspace.copied import CopiedWork

    try:
        base = Base.load(paths.base(identity))
    except FileNotFoundError:
        raise BottleError(f"it is not known what the work of {identity} began with", why="its record is gone",
                          do=f"its files are in {paths.workspace(identity)}") from None  # fmt: skip
    return CopiedWork(base, paths.workspace(identity) if files is None else files)


# How a bottle began, by what lies in its state directory, and how its work is then opened. What a later plan of it says
# (`resume` without `--cwd`) changes nothing about that.
_BEGINNINGS: tuple[tuple[Callable[[Paths, str], bool], Callable[[Paths, str, Path | int | None], Work]], ...] = (
    (_has_layers, _overlaid),
    (lambda paths, identity: paths.base(identity).is_dir(), _copied),
)


def is_in_layers(paths: Paths, identity: str) -> bool:
    """Whether all of a bottle's work lies in layers, in its state directory, wherever it runs."""
    return _has_layers(paths, identity)


def has_work(paths: Paths, identity: str) -> bool:
    """Whether a bottle works on files of its own that were handed in."""
    return any(begun(paths, identity) for begun, _ in _BEGINNINGS)


def mode_of(paths: Paths, identity: str) -> str:
    """The workspace mode of a bottle, by its stored plan; "" where that cannot be read."""
    from claude_bottle.state.files import read_json

    try:
        said = read_json(paths.plan(identity), _PLAN_LIMIT).get("workspace")
    except (FileNotFoundError, BottleError):
        return ""
    return str(said.get("mode", "")) if isinstance(said, dict) else ""


@contextmanager
def opened_work(paths: Paths, identity: str, files: Path | int | None = None) -> Iterator[Work]:
    """The work of a bottle, whose files lie in its state directory, or in the directory `files`. BottleError where it has
    none, or it cannot be read."""
    opens = next((opens for begun, opens in _BEGINNINGS if begun(paths, identity)), None)
    if opens is None:
        mode = mode_of(paths, identity)
        if mode == "copy":
            raise BottleError(f"it is not known what the work of {identity} began with", why="an earlier version made it",
                              do=f"its files are in {paths.workspace(identity)}")  # fmt: skip
        what = "works on your own directory" if mode == "bind" else "has no copy of a directory"
        raise BottleError(f"{identity} has no work to carry over", why=f"it {what}",
                          do="start with --cwd to give an agent a private copy")  # fmt: skip
    work = opens(paths, identity, files)
    try:
        yield work
    finally:
        work.close()


def judge(
    paths: Paths, identity: str, work: Work | None = None, taken: Iterable[str] = (), changes: Sequence[Change] | None = None
) -> Left:
    """What the operator has not got of a bottle's work (and of its `changes`, where they are known); noted down, with what
    was `taken` just now. BottleError as for `opened_work`."""
    from claude_bottle.state import work_note
    from claude_bottle.workspace import taken as taking

    if work is None:
        with opened_work(paths, identity) as found:
            return judge(paths, identity, found, taken, changes)
    former = taking.load(paths.taken(identity))
    known = former | frozenset(taken)
    if known != former:
        taking.save(paths.taken(identity), known)
    left = taking.left(work, known, changes)
    work_note.save(paths.work_note(identity), left.note)
    return left
