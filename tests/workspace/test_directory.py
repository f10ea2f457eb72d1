"""Looking into a tree that somebody else may be changing: through no link, waiting for nothing."""

from __future__ import annotations

import os

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.workspace.directory import Directory, content
from claude_bottle.workspace.work import KEEP
from tests.workspace.conftest import Yard, plant


def test_no_link_is_followed_at_the_top_on_the_way_or_at_the_end(yard: Yard) -> None:
    (yard.place / "top").symlink_to(yard.outside)
    with pytest.raises(BottleError):
        Directory(yard.place / "top")
    (yard.bottle / "link").symlink_to(yard.outside)
    (yard.bottle / "file").symlink_to(yard.outside / "canary")
    with Directory(yard.bottle) as tree:
        assert tree.names("link") == []
        assert tree.entry("link/canary") is None
        for path in ("link/canary", "file", "../outside/canary", "/etc/passwd", "link/../file", ".", ""):
            with pytest.raises(OSError):  # noqa: PT011
                os.close(tree.open(path))
        assert [path for path, _ in tree.walk(lambda path, directory: KEEP)] == ["file", "link"]


def test_what_is_no_plain_file_is_never_waited_for(yard: Yard) -> None:
    os.mkfifo(yard.bottle / "pipe")
    with Directory(yard.bottle) as tree, pytest.raises(OSError, match="regular"):
        tree.open("pipe")


def test_what_an_agent_closed_to_itself_is_opened_up_and_the_operators_never(yard: Yard) -> None:
    plant(yard.bottle, {"a/b/file": "f"})
    for path in ("a/b/file", "a/b", "a", "."):
        (yard.bottle / path).chmod(0)
    with Directory(yard.bottle, ours=True) as tree:
        assert content(tree, "a/b/file", 10) == b"f"
        assert [path for path, _ in tree.walk(lambda path, directory: KEEP)] == ["a", "a/b", "a/b/file"]
    plant(yard.host, {"closed/file": "f"})
    (yard.host / "closed").chmod(0)
    with Directory(yard.host) as tree:
        list(tree.walk(lambda path, directory: KEEP))
    assert (yard.host / "closed").stat().st_mode & 0o777 == 0


def test_no_more_is_read_than_allowed(yard: Yard) -> None:
    plant(yard.bottle, {"file": "12345"})
    with Directory(yard.bottle) as tree:
        assert content(tree, "file", 5) == b"12345"
        with pytest.raises(OSError, match="too large"):
            content(tree, "file", 4)
