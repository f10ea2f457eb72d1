"""What the remote really has, fetched at the moment of the push: one request of upload-pack, protocol version 0.

The request goes through the gate, which knows the place and the credential; here are only its bytes. The answer is a few
lines, then a pack on side band 1 (gitprotocol-pack(5)). A remote is as hostile as a bottle: its pack is indexed, not
believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from claude_bottle.model import pktline
from claude_bottle.model.pktline import BadPkt, Reader
from claude_bottle.workspace.push.quarantine import Quarantine, Refuse

MAX_TIPS, MAX_HAVES = 50_000, 256
# The tips of the last time, which a remote may have moved since: from there on, it need send nothing again.
_NOTED = "tips"
MAX_HISTORY = 8 << 30
_ASKED = b"side-band-64k ofs-delta no-progress agent=claude-bottle"

Ask = Callable[[bytes], Iterator[bytes]]


def complete(quarantine: Quarantine, tips: Sequence[str], ask: Ask) -> None:
    """Fetch what of the remote's branches and tags is not here yet. `ask` sends a request's body and gives the answer's
    pieces. Refuse when the remote does not give it."""
    noted = quarantine.history / _NOTED
    former = noted.read_text("ascii").split() if noted.exists() else []
    there = quarantine.objects([*tips, *former], history=True)
    wanted = [tip for tip in tips if tip not in there]
    if not wanted:
        return
    index = quarantine.feeding("index-pack", "--stdin", "--fix-thin", f"--max-input-size={MAX_HISTORY}", history=True)
    try:
        for piece in packed(ask(request(wanted, list(there)[:MAX_HAVES]))):
            index.feed(piece)
    except BadPkt:
        index.end()
        raise Refuse("the remote's answer to a fetch cannot be read") from None
    if why := index.end():
        raise Refuse(f"the remote's history cannot be read: {why}")
    noted.write_text("\n".join(tips[:MAX_HAVES]))


def request(wanted: Sequence[str], had: Sequence[str]) -> bytes:
    first, *others = (f"want {one}".encode() for one in wanted)
    lines = [pktline.line(first + b" " + _ASKED + b"\n"), *(pktline.line(one + b"\n") for one in others), pktline.FLUSH]
    lines += [pktline.line(f"have {one}\n".encode()) for one in had]
    return b"".join([*lines, pktline.line(b"done\n")])


def packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pack in an answer. BadPkt for what is none; Refuse when the remote says why not."""
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
        while (line := reader.next()) is not False:
            if line is None or line is True:
                continue
            band, text = line[:1], line[1:]
            if band == b"\x01":
                yield text
            elif band == b"\x03" or line.startswith(b"ERR "):
                raise Refuse(f"the remote refused a fetch: {text[:300].decode('utf-8', 'replace').strip()}")
            elif band != b"\x02" and not line.startswith((b"NAK", b"ACK ")):
                raise BadPkt("neither a pack nor an acknowledgement")
    if reader.rest:
        raise BadPkt("it ends in the middle of a line")
