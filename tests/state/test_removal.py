from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import removal
from claude_bottle.state.removal import remove_tree


def test_a_tree_is_gone_afterwards(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "name\nwith\x1b[31m").write_text("x")
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "missing")
    remove_tree(tmp_path / "missing" / "below")


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "directory").symlink_to(outside)
    (tree / "file").symlink_to(outside / "canary")
    (tree / "loop").symlink_to(tree)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "canary").read_text() == "alive"


def test_a_link_in_the_place_of_the_tree_is_removed_itself(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    (tmp_path / "tree").symlink_to(outside)
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").is_symlink()
    assert (outside / "canary").read_text() == "alive"


def test_a_directory_swapped_for_a_link_at_the_last_moment_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").touch()
    real = removal.beneath.open_up

    def swapping(directory: int, name: str) -> None:
        real(directory, name)
        if name.startswith(".removing-"):
            os.rename(name, tmp_path / "moved", src_dir_fd=directory)
            os.symlink(outside, name, dir_fd=directory)

    monkeypatch.setattr(removal.beneath, "open_up", swapping)
    with pytest.raises(BottleError):
        remove_tree(tree)
    assert (outside / "canary").read_text() == "alive"


_CLOSED_TREE = """
import os, sys
from pathlib import Path
from claude_bottle.state.removal import remove_tree
tree = Path(sys.argv[1]) / "tree"
(tree / "closed" / "deep").mkdir(parents=True)
(tree / "closed" / "deep" / "file").touch()
(tree / "closed" / "deep").chmod(0)
(tree / "closed").chmod(0)
tree.chmod(0)
remove_tree(tree)
sys.exit(tree.exists())
"""


def test_directories_that_an_agent_closed_are_opened_and_removed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    argv = [sys.executable, "-c", _CLOSED_TREE, str(own)]
    if os.geteuid() == 0:  # Root passes every mode, so without capabilities here.
        os.chmod(own, 0o777)
        argv = [
            "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--securebits=+noroot,+noroot_locked",
            "--",
            *argv,
        ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_depth_beyond_every_limit_costs_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    current = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    remove_tree(tree)
    assert not tree.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: only root can make a file immutable")
def test_what_cannot_be_removed_is_named_and_the_rest_is_gone(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "kept").mkdir(parents=True)
    (tree / "a" / "kept" / "stuck\x1b]0;").touch()
    (tree / "b").mkdir()
    (tree / "b" / "gone").touch()
    stuck = tree / "a" / "kept" / "stuck\x1b]0;"
    if subprocess.run(["chattr", "+i", stuck], check=False, capture_output=True).returncode:
        pytest.skip("cannot run here: this file system has no immutable files")
    try:
        with pytest.raises(BottleError) as caught:
            remove_tree(tree)
        assert "a/kept/stuck\\x1b" in caught.value.why
        assert "\x1b" not in caught.value.why
        assert not (tree / "b").exists()
    finally:
        for found in tree.rglob("stuck*"):
            subprocess.run(["chattr", "-i", found], check=True)


_MOUNTED_TREE = """
import subprocess, sys
from pathlib import Path
from claude_bottle.errors import BottleError
from claude_bottle.state.removal import remove_tree
place = Path(sys.argv[1])
(place / "outside").mkdir()
(place / "outside" / "canary").touch()
for point in ("tree/mounted", "tree/deep/mounted"):
    (place / point).mkdir(parents=True)
    subprocess.run(["mount", "--bind", place / "outside", place / point], check=True)
try:
    remove_tree(place / "tree")
except BottleError as problem:
    print(problem.why)
sys.exit(not (place / "outside" / "canary").exists())
"""


def test_what_is_mounted_in_a_tree_is_not_emptied(tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("cannot run here: no user namespaces")
    argv = [*unshare, sys.executable, "-c", _MOUNTED_TREE, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tree/mounted" in done.stdout
    assert "tree/deep/mounted" in done.stdout
