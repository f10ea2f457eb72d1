"""Which project manifests the operator has consented to: `trust.json`, keyed by path, bound to the content's
hash.

One entry a path, so that going back to an older content asks again. Only what the operator said is written
here; the file is read whole and written whole, under a lock, and one that is damaged or of a newer version is
refused, never guessed. Touches nothing but the state root.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.state import files
from claude_bottle.state.damage import cannot, damaged
from claude_bottle.state.paths import Paths
from claude_bottle.values import dataclass

SCHEMA = 1
_LIMIT = 8 << 20


@dataclass(frozen=True)
class Trusted:
    """What the operator last consented to for one file: its hash (hex), the grants in words, and when
    (UTC, ISO)."""

    sha256: str
    grants: tuple[str, ...]
    at: str


class Trust:
    """The trust store of one state root. Nothing is cached: every question reads the file."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def is_trusted(self, path: Path, sha256: str) -> bool:
        """Whether the operator has consented to exactly this content at this path."""
        found = self.previous(path)
        return found is not None and found.sha256 == sha256

    def previous(self, path: Path) -> Trusted | None:
        """What was last consented to at this path, whatever the content is now; None when never. Damaged
        when the store cannot be understood."""
        return self._load().get(os.path.realpath(path))

    def remember(self, path: Path, sha256: str, grants: Sequence[str]) -> None:
        """Note the operator's consent to this content, in place of any earlier one for this path."""
        self._paths.ensure_root()
        with self._locked():
            trusted = self._load()
            now = datetime.now(UTC).isoformat(timespec="seconds")
            trusted[os.path.realpath(path)] = Trusted(sha256, tuple(grants), now)
            self._store(trusted)

    def forget(self, path: Path) -> bool:
        """Take the consent for this path back; whether there was one."""
        self._paths.ensure_root()
        with self._locked():
            trusted = self._load()
            if trusted.pop(os.path.realpath(path), None) is None:
                return False
            self._store(trusted)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        name = self._paths.root / "trust.lock"
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise cannot("lock", name, problem) from problem
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _store(self, trusted: dict[str, Trusted]) -> None:
        body = {
            path: {"sha256": one.sha256, "grants": list(one.grants), "at": one.at} for path, one in sorted(trusted.items())
        }
        text = json.dumps({"schema": SCHEMA, "trusted": body}, indent=1) + "\n"
        files.write_atomic(self._paths.trust, text.encode())

    def _load(self) -> dict[str, Trusted]:
        try:
            data = files.read_json(self._paths.trust, _LIMIT)
        except FileNotFoundError:
            return {}
        schema = data.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise BottleError(
                f"{self._paths.trust} was written by a newer claude-bottle",
                why=f"its schema is {schema}, this version knows {SCHEMA}",
                do="upgrade claude-bottle",
            )
        body = data.get("trusted")
        if schema != SCHEMA or not isinstance(body, dict):
            raise damaged(self._paths.trust, "it is not a list of trusted manifests")
        return {path: self._entry(path, entry) for path, entry in body.items()}

    def _entry(self, path: str, entry: object) -> Trusted:
        if isinstance(entry, dict):
            sha256, grants, at = entry.get("sha256"), entry.get("grants"), entry.get("at")
            words = [grant for grant in grants if isinstance(grant, str)] if isinstance(grants, list) else []
            if isinstance(sha256, str) and isinstance(at, str) and words == grants:
                return Trusted(sha256, tuple(words), at)
        raise damaged(self._paths.trust, f"the entry for {path} is incomplete")
