"""What of the host and of earlier layers a build that installs packages finds in its /etc and its package database."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from claude_bottle.backend import subids
from claude_bottle.backend.bubblewrap import layer_copy, layer_root

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


@pytest.mark.parametrize("link", ["status", "diversions", "triggers"])
def test_what_a_layer_left_is_read_through_no_link_to_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    """A maintainer script can leave one in its package database, and the next build would find there what it leads to."""
    (host := tmp_path / "dpkg").mkdir()
    (host / "status").write_text("of the host\n")
    monkeypatch.setattr(layer_root, "_DPKG", host)
    monkeypatch.setattr(layer_root, "_MADE", ())
    (closed := tmp_path / "closed").mkdir()
    (closed / "File").write_text("secret")
    (built := tmp_path / "built/upper/dpkg").mkdir(parents=True)
    (built / "status").write_text("of the layer\n")
    (built / "diversions").write_text("/usr/bin/a\n")
    (built / link).unlink(missing_ok=True)
    (built / link).symlink_to(closed if link == "triggers" else closed / "File")
    (layer := tmp_path / "layer").mkdir()
    layer_copy.take_over(tmp_path / "built", layer / "root", 1 << 20, installed=True)
    (place := tmp_path / "place").mkdir()
    layer_root.BuildRoot(place, (layer,), subids.Range(os.getuid(), os.getgid(), 1, 1)).make()
    database = place / "upper/dpkg"
    assert not [path for path in database.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert (database / "status").read_text() == ("of the host\n" if link == "status" else "of the layer\n")
    assert (database / "triggers/File").read_bytes() == b""
