"""Who signs commits signs commits: nothing else gets a signature, whoever asks."""

from __future__ import annotations

import socket
import threading

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper.signer import MAX_COMMIT, SIZE, Key, received, serve
from claude_bottle.workspace.push.quarantine import Refuse
from claude_bottle.workspace.push.signing import Signer

TREE = b"tree " + b"1" * 40 + b"\n"
WHO = b"author A <a@b.test> 1 +0000\ncommitter A <a@b.test> 1 +0000\n"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", b"object " + b"1" * 40 + b"\ntype commit\ntag v1\ntagger A <a@b.test> 1 +0000\n\nrelease\n",
        b"blob 5\0hello", TREE + b"\nno author\n", TREE + WHO, TREE + WHO + b"gpgsig x\n\nsigned already\n",
        TREE + WHO.replace(b"committer", b"tagger") + b"\nx\n", b"\n" + TREE + WHO + b"\nx\n",
        b"tree 1234\n" + WHO + b"\nx\n", TREE + WHO.replace(b"A ", b"A\0") + b"\nx\n",
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_commit_is_not_signed(data: bytes) -> None:
    with pytest.raises(BottleError, match="that is no commit"):
        Key().sign(data)


def test_what_is_too_long_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)  # whoever would wait for it fails
        ours.sendall(SIZE.pack(MAX_COMMIT + 1))
        assert received(theirs) is None


def test_it_answers_in_words_and_goes_on_until_the_line_ends() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        serving = threading.Thread(target=serve, args=(theirs,))
        serving.start()
        with ours:
            for _ in range(2):
                ours.sendall(SIZE.pack(4) + b"junk")
                assert received(ours) == b"-that is no commit"
        serving.join()


def test_a_commit_that_is_too_long_to_be_signed_refuses_the_push() -> None:
    ours, theirs = socket.socketpair()

    def until_the_end() -> None:
        with theirs:
            serve(theirs)

    serving = threading.Thread(target=until_the_end)
    serving.start()
    with ours, pytest.raises(Refuse, match="whoever signs the new commits has gone, so none is pushed"):
        Signer(ours).sign(bytes(MAX_COMMIT + 1))
    serving.join()
