"""How a container's first process talks with its keeper: JSON, one message a packet, with descriptors beside it.

Beside init.py in the container, standalone like it. Of `json`, `socket` and `signal` it takes the halves that are written
in C, where the interpreter has them: the others bring regular expressions and enumerations, which take longer to load
than all the rest between exec and the first word.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]
    _scan: Callable[[str, int], tuple[Any, int]]
    _chunks: Callable[[Message, int], tuple[str, ...]]
else:
    try:
        import _json
        import _signal as signal
        import _socket as socket

        _AS_USUAL = {"strict": True, "parse_float": float, "parse_int": int, "parse_constant": float,
                     "object_hook": None, "object_pairs_hook": None}  # fmt: skip
        _scan = _json.make_scanner(type("AsUsual", (), _AS_USUAL))
        _chunks = _json.make_encoder(None, None, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
    except (ImportError, AttributeError, TypeError):  # another interpreter than the CPythons there have been
        import json
        import signal
        import socket

        _scan = json.JSONDecoder().scan_once

        def _chunks(value, _level):
            return (json.dumps(value),)


__all__ = ["dumps", "hear", "loads", "say", "signal", "socket"]


def loads(text: bytes) -> Any:
    return _scan(text.decode(), 0)[0]


def dumps(value: Message) -> bytes:
    return "".join(_chunks(value, 0)).encode()


def say(channel: socket.socket, fds: list[int] | tuple[()] = (), **message: Any) -> None:
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    channel.sendmsg([dumps(message)], passed)


def hear(channel: socket.socket) -> tuple[Message, list[int]]:
    """(message, descriptors); ends this process, and with it the bottle, when the keeper is gone."""
    data, passed, _, _ = channel.recvmsg(1 << 16, socket.CMSG_LEN(8 * 4), socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)
    return loads(data), [fd for _, _, raw in passed for (fd,) in struct.iter_unpack("i", raw)]
