"""Packs made by hand, for what git's own client would not send (gitformat-pack(5))."""

from __future__ import annotations

import hashlib
import struct
import zlib

COMMIT, TREE, BLOB, TAG, REF_DELTA = 1, 2, 3, 4, 7
_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}


def object_id(kind: int, content: bytes) -> str:
    return hashlib.sha1(b"%s %d\0" % (_NAMES[kind], len(content)) + content).hexdigest()


def entry(kind: int, content: bytes, *, claimed: int | None = None, base: str = "") -> bytes:
    """One object; `claimed`: the size its header says; `base`: for a delta, the id it is against."""
    size = len(content) if claimed is None else claimed
    first, size = kind << 4 | size & 15, size >> 4
    head = bytearray()
    while size:
        head.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    head.append(first)
    return bytes(head) + bytes.fromhex(base) + zlib.compress(content)


def pack(*entries: bytes, count: int | None = None) -> bytes:
    body = b"PACK" + struct.pack(">II", 2, len(entries) if count is None else count) + b"".join(entries)
    return body + hashlib.sha1(body).digest()


def tree(*entries: tuple[str, bytes, str]) -> bytes:
    """Entries are (mode, name, id)."""
    return b"".join(b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(one)) for mode, name, one in entries)


def commit(tree_id: str, *parents: str, message: bytes = b"made by hand\n") -> bytes:
    lines = [f"tree {tree_id}", *(f"parent {one}" for one in parents), "author A <a@b.test> 1700000000 +0000",
             "committer A <a@b.test> 1700000000 +0000", "", ""]  # fmt: skip
    return "\n".join(lines).encode() + message


def delta(base_size: int, size: int, *instructions: bytes) -> bytes:
    return _varint(base_size) + _varint(size) + b"".join(instructions)


def copied(offset: int, size: int) -> bytes:
    """A copy instruction with all its bytes."""
    return bytes([0xFF]) + struct.pack("<I", offset) + struct.pack("<I", size)[:3]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])
