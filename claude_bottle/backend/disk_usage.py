"""How much directories hold that a bottle writes to: what they take is looked at when it may have become too much.

No file system here has quotas that an ordinary user may set, so somebody looks. Looking at every file is dear and asking
how much of the file system is free costs nothing, and what has grown has taken from that: so files are looked at when
there may be too many, and now and then, since others may have freed meanwhile what a bottle took. Not seen is what was
deleted and is held open. An agent that hides what it has from being counted has too much.

Standalone: it runs here, and as `python3 -I -S -c` of this very text beside a bottle whose volumes cannot be seen from here.
"""

from __future__ import annotations

import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    Result = TypeVar("Result")
    # A directory by its path; or its descriptor, which then is the counter's to close.
    Place = str | int
    # What a directory is, under whatever name: device and inode.
    Node = tuple[int, int]

# What a file takes beside its bytes: there is an end to files without any, too.
ENTRY = 4096
# So many directories are held open inside one another, and so many to be gone into later.
DEEPEST, LATER = 100, 200
# Files are looked at after so many seconds at the latest, and for this part of the time at most.
LOOK_AGAIN, SHARE = 30.0, 0.01
_TRIES = 10
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Hidden(Exception):
    """A directory is being closed again and again while it is looked at."""


class Usage:
    """Of `places` together, of which nobody needs to know more than whether it is more than `most` bytes. `without`: what
    appears in them and is not of them, such as a mount. One thread asks; another may tell it to stop."""

    def __init__(self, places: Sequence[Place], most: int, without: frozenset[Node] = frozenset()) -> None:
        self._places, self._most, self._without = places, most, without
        self._counted: int | None = None
        self._free, self._due = 0, 0.0
        self.stopped = False

    def held(self) -> int:
        """Bytes held when it was last looked at, which is now if it may have become too much."""
        now, began = _free(self._places), time.monotonic()
        self._free = max(self._free, now)  # what others have freed may be what has been taken since
        if self._counted is None or self._counted + self._free - now >= self._most or began >= self._due:
            self._free = now
            self._counted = count(self._places, self._most, self._without, lambda: self.stopped)
            ended = time.monotonic()
            self._due = ended + max(LOOK_AGAIN, (ended - began) / SHARE)
        return self._counted

    def stop(self) -> None:
        """Whoever asks shall not have to wait any more; what they are told then means nothing."""
        self.stopped = True

    def close(self) -> None:
        for place in self._places:
            if isinstance(place, int):
                os.close(place)
        self._places = ()


def count(
    places: Sequence[Place], beyond: int, without: frozenset[Node] = frozenset(), stopped: Callable[[], bool] = lambda: False
) -> int:
    """Bytes that the files there take; counting ends above `beyond`. No link is followed, a file with several names counts
    once, and what changes meanwhile is counted or not."""
    counting = Counting(beyond, without, stopped)
    try:
        for place in places:
            try:
                counting.enter(_opened(place))
            except OSError:
                continue  # it is not there
        while counting.later and not counting.enough():
            counting.tree(counting.later.pop(), 0)
    except Hidden:
        return beyond + 1
    finally:
        for fd in counting.later:
            os.close(fd)
    return counting.total


class Counting:
    """One look at every file. `later`: descriptors of directories that have not been gone into."""

    def __init__(self, beyond: int, without: frozenset[Node], stopped: Callable[[], bool]) -> None:
        self.total, self.later = 0, list[int]()
        self.beyond, self.stopped, self.without = beyond, stopped, set(without)

    def enough(self) -> bool:
        return self.total > self.beyond or self.stopped()

    def enter(self, directory: int) -> None:
        """A place of its own: whatever leads there from another is not counted a second time."""
        found = os.fstat(directory)
        node = found.st_dev, found.st_ino
        if node in self.without:
            os.close(directory)
        else:
            self.without.add(node)
            self.later.append(directory)

    def tree(self, directory: int, depth: int) -> None:
        """What is in this directory, whose descriptor is closed. Nothing is remembered of it but how much it is: how many
        files there are is up to the agent."""
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if self.enough():
                        break
                    try:
                        self.one(directory, entry, depth)
                    except OSError:
                        continue  # it is gone, or as closed to the agent as to us
        except OSError:
            pass
        finally:
            os.close(directory)

    def one(self, directory: int, entry: os.DirEntry[str], depth: int) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
        except PermissionError:
            found = _insist(directory, lambda: os.stat(entry.name, dir_fd=directory, follow_symlinks=False))
        if (found.st_dev, found.st_ino) in self.without:
            return
        takes, inside = max(found.st_blocks * 512, ENTRY), stat.S_ISDIR(found.st_mode)
        # Each of its names counts a part.
        self.total += takes if inside else -(-takes // max(1, found.st_nlink))
        if not inside:
            return
        inner = _directory(directory, entry.name)
        if depth < DEEPEST:
            self.tree(inner, depth + 1)
        elif len(self.later) < LATER:
            self.later.append(inner)
        else:
            os.close(inner)
            raise Hidden


def _free(places: Sequence[Place]) -> int:
    """Of all file systems that they are on. What is not there is on none."""
    found: dict[int, int] = {}
    for place in places:
        try:
            found[os.stat(place).st_dev] = (at := os.statvfs(place)).f_bfree * at.f_frsize
        except OSError:
            continue
    return sum(found.values())


def _opened(place: Place) -> int:
    """A descriptor to read it by."""
    if isinstance(place, int):
        return _listed(place)
    look = os.open(place, os.O_PATH | _DIRECTORY)
    try:
        return _listed(look)
    finally:
        os.close(look)


def _directory(parent: int, name: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=parent)
    except PermissionError:
        look = _insist(parent, lambda: os.open(name, os.O_PATH | _DIRECTORY, dir_fd=parent))
    try:
        return _listed(look)
    finally:
        os.close(look)


def _listed(look: int) -> int:
    """The same directory, to be read."""
    return _insist(look, lambda: os.open(f"/proc/self/fd/{look}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _insist(directory: int, do: Callable[[], Result]) -> Result:
    """What `do` returns, which needs this directory. What an agent has closed to its owner, who is ourselves then, is open
    for that moment, and then as before. PermissionError where it is somebody else's."""
    try:
        return do()
    except PermissionError:
        pass
    here = f"/proc/self/fd/{directory}"  # fchmod(2) refuses O_PATH; the magic link leads to this very inode
    for _ in range(_TRIES):
        mode = stat.S_IMODE(os.fstat(directory).st_mode)
        os.chmod(here, mode | 0o500)
        try:
            return do()
        except PermissionError:
            continue
        finally:
            os.chmod(here, mode)
    raise Hidden


def main() -> None:
    """Told how much is too much and where to look, it answers each byte it reads with a line."""
    usage = Usage(sys.argv[2:], int(sys.argv[1]))
    while os.read(0, 1):
        os.write(1, b"%d\n" % usage.held())


if __name__ == "__main__":
    main()
