"""What of the host a build that installs packages finds in its /etc."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from claude_bottle.backend import subids
from claude_bottle.backend.bubblewrap import layer_root

NOT_THIS = "0" * 32
# Whose content every Linux has; as if a package had brought them.
READABLE, CHANGED, CLOSED, APTS = "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/apt/sources.list.d/debian.sources"


def digest(path: str) -> str:
    try:
        return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return NOT_THIS


def test_it_is_what_packages_brought_and_nobody_has_changed_or_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (database := tmp_path / "dpkg").mkdir()
    brought = {READABLE: digest(READABLE), CHANGED: NOT_THIS, CLOSED: digest(CLOSED), APTS: digest(APTS)}
    lines = "".join(f" {path} {content}\n" for path, content in brought.items())
    (database / "status").write_text(f"Package: one\nStatus: install ok installed\nConffiles:\n{lines}")
    monkeypatch.setattr(layer_root, "_DPKG", database)
    monkeypatch.setattr(layer_root, "_MADE", ())
    (place := tmp_path / "place").mkdir()
    layer_root.BuildRoot(place, (), subids.Range(os.getuid(), os.getgid(), 1, 1)).make()
    given = place / "given/etc"
    found = {str(path.relative_to(given)) for path in given.rglob("*") if path.is_file() and not path.is_symlink()}
    assert found == {"passwd"}
    assert (given / "passwd").read_bytes() == Path(READABLE).read_bytes()
