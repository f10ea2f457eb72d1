from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.damage import Damaged
from claude_bottle.state.sockets import bind_socket, connect_socket


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A path far beyond the 107 bytes of sun_path."""
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    return directory / "docs-7ahq2c.sock"


def unix() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def test_a_socket_of_any_path_length_is_bound_and_reached(deep: Path) -> None:
    with unix() as server, unix() as client:
        bind_socket(server, deep)
        server.listen()
        connect_socket(client, deep)
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_a_socket_is_private_whatever_the_umask(deep: Path) -> None:
    before = os.umask(0)
    try:
        with unix() as server:
            bind_socket(server, deep)
    finally:
        os.umask(before)
    assert deep.stat().st_mode & 0o777 == 0o600


def test_a_stale_socket_is_replaced(deep: Path) -> None:
    with unix() as dead:
        bind_socket(dead, deep)
    with unix() as server, unix() as client:
        bind_socket(server, deep)
        server.listen()
        connect_socket(client, deep)


def test_a_file_in_the_place_of_a_socket_is_left_alone(deep: Path) -> None:
    deep.write_text("mine")
    with unix() as server, pytest.raises(Damaged):
        bind_socket(server, deep)
    assert deep.read_text() == "mine"


def test_a_link_in_the_place_of_the_directory_is_not_followed(deep: Path, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(deep.parent)
    with unix() as server, pytest.raises(BottleError):
        bind_socket(server, tmp_path / "run" / "x.sock")
    with unix() as client, pytest.raises(BottleError):
        connect_socket(client, tmp_path / "run" / "x.sock")
    assert not (deep.parent / "x.sock").exists()


def test_no_descriptor_is_left_open(deep: Path) -> None:
    gc.collect()  # what an earlier test left to be collected must not go in between
    before = os.listdir("/proc/self/fd")
    with unix() as server:
        bind_socket(server, deep)
    assert os.listdir("/proc/self/fd") == before
