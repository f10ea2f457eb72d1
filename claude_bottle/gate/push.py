"""One push, from the client's first command to the answer it gets: received, judged, and only then made at the remote.

In order: commands (refused by name before anybody upstream hears of them), the remote's real tips, a judge, who may fetch
the remote's history through here, the client's pack to the judge, the verdict, then the judge's own pack to the remote
with commands written anew. A refusal at any point is told to git as an answer to its push, once it has sent what it had to
send. The credential stays here. Logic only, like every exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate import inject, limits
from claude_bottle.gate.audit import response
from claude_bottle.gate.call import Call
from claude_bottle.gate.push_court import Court
from claude_bottle.gate.push_intake import COMMANDS, DRAIN, PACK, Intake
from claude_bottle.model import pktline
from claude_bottle.model import policy as reasons
from claude_bottle.model import push as wire
from claude_bottle.model.pktline import BadPkt
from claude_bottle.model.push import Asked, BadPush

if TYPE_CHECKING:
    from claude_bottle.gate import core
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.head import Headers, Request
    from claude_bottle.gate.http import HttpStage
    from claude_bottle.model.git_grant import GitGrant
    from claude_bottle.model.policy import Rule

_KIND = b"application/x-git-receive-pack-result"
_OWN = [(b"user-agent", b"git/2.40.0 (claude-bottle)"), (b"accept", b"*/*")]
_TAKEN = (b"content-type", b"application/x-git-receive-pack-request")
_FETCHED = (b"content-type", b"application/x-git-upload-pack-request")


class Push:
    """An exchange that `HttpStage` runs in place of an ordinary one."""

    def __init__(
        self, stage: HttpStage, request: Request, attempt: Attempt, origin: core.Origin, headers: Headers, target: str,
        secrets: tuple[bytes, ...], rule: Rule, grant: GitGrant,
    ) -> None:  # fmt: skip
        self.request, self._attempt, self.origin = request, attempt, origin
        self.conversation, self._rule, self.grant = stage.conversation, rule, grant
        self._signed = [pair for pair in headers if pair[0] == b"authorization"]
        self._secrets = secrets
        self._base = target.removesuffix("/git-receive-pack")
        self.place = f"{origin.host}:{origin.port}{self._base}"
        self._intake = Intake(request, self, stage.take_buffer)
        self.asked = Asked((), False, False)
        self._received = bytearray()  # from the remote, of the present call
        self._answer: bytes | None = None
        self._call: Call | None = None
        self._court: Court | None = None
        self._started = self.conversation.state.clock()
        self._sending = self._recorded = False

    # What the stage wants of an exchange

    @property
    def takes_body(self) -> bool:
        return self._intake.takes

    @property
    def request_done(self) -> bool:
        return self._intake.done

    def owns(self, link: int) -> bool:
        return any(part is not None and part.link == link for part in (self._call, self._court))

    def begin(self) -> None:
        self.conversation.timer(limits.IDLE_WITHIN, idle=True)
        if self.request.expects:
            self.conversation.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if [pair for pair in self.request.headers if pair[0] in (b"content-type", b"content-encoding")] != [_TAKEN]:
            self.not_a_push("a push is of the type application/x-git-receive-pack-request, and not compressed")
        else:
            self._intake.turn(COMMANDS)

    def client_received(self, data: bytes | bytearray | memoryview) -> bytes:
        self._intake.received(data)
        return b""  # the connection ends with the answer: nothing that follows is looked at

    def link_ready(self, link: int) -> None:
        self.conversation.timer(limits.IDLE_WITHIN, idle=True)
        if self._call and self._call.link == link:
            self._call.ready()
            if self._sending and self._court:
                self.conversation.hold(self._court.link, False)
        elif self._court:
            self._court.begin()

    def link_received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        if self._call and self._call.link == link:
            self._call.received(bytes(data))
        elif self._court:
            self._court.received(data)

    def link_ended(self, link: int, *, truncated: bool) -> None:
        if self._call and self._call.link == link:
            self._call.ended(truncated=truncated)
        elif self._court:
            self._court.lost("")

    def link_failed(self, link: int, reason: str, detail: str) -> None:
        if self._call and self._call.link == link:
            self._call.fail(f"{reason}: {detail}")
        elif self._court:
            self._court.lost(detail)

    def flow(self, link: int, *, clogged: bool) -> None:
        """Whoever is slow holds back whoever feeds it."""
        if self._call and self._court and link in (self._call.link, self._court.link):
            self.conversation.hold(self._court.link if link == self._call.link else self._call.link, clogged)

    def expired(self) -> bool:
        """Whether the time that ran out was a call's."""
        if self._call is None or self._call.is_ready or self._call.over:
            return False
        self._call.fail("the server did not finish its TLS handshake in time")
        return True

    def stop(self, why: str) -> None:
        self._record(why)

    # What the client sends

    def commands_read(self, lines: list[bytes]) -> None:
        self.asked = wire.read_commands(lines)
        if not self.asked.commands:
            self._end_with(response(200, _KIND, b"", close=True))  # git's question whether it may push at all
            return
        repository = self._attempt.git.repository if self._attempt.git else ""
        self._attempt.pushed = {"repository": repository, "commands": [one.to_dict() for one in self.asked.commands]}
        if why := wire.ungranted(self.asked.commands, self.grant):
            self.refuse("", why)
        else:
            self._ask("info/refs?service=git-receive-pack", wire.MAX_ADVERTISED, self._tips)

    def pack_came(self, piece: bytes) -> None:
        if self._court:
            self._court.pack(piece)

    def sent_all(self, phase: str) -> None:
        if phase == COMMANDS:
            self.not_a_push("it ends in the middle of its commands")
        elif phase == PACK and self._court:
            self._court.pack_ended()
        elif phase == DRAIN:
            self._say()

    def not_a_push(self, why: str) -> None:
        """Said in HTTP, since git's own answers need to know what it asked for."""
        self.conversation.commands.append(self._attempt.record(allow=False, reason=reasons.BAD_REQUEST, detail=why))
        self._attempt.said = why
        self._end_with(self._attempt.refusal(reasons.BAD_REQUEST))

    def broken(self, why: str) -> None:
        self.conversation.cut(why)

    # The remote and the judge

    def _ask(self, what: str, most: int, done: Callable[[int, str], object]) -> None:
        """A small answer, whole."""
        self._received.clear()
        self._call = self._calling(what, lambda piece: self._more(piece, most), done)

    def _calling(
        self, what: str, took: Callable[[bytes], object], done: Callable[[int, str], object], *more: tuple[bytes, bytes],
        body: bytes | None = None, follows: int = 0,
    ) -> Call:  # fmt: skip
        target, headers = f"{self._base}/{what}".encode("ascii"), [*_OWN, *self._signed, *more]
        return Call(self.conversation, self.origin, target, headers, took, done, body=body, more=follows)

    def _more(self, piece: bytes, most: int) -> None:
        self._received += piece
        if len(self._received) > most and self._call:
            self._call.fail("the answer is too long")

    def _tips(self, status: int, why: str) -> None:
        """The remote has said what it has."""
        try:
            if status != 200:
                raise BadPush(f"the remote could not be asked what it has: {why or f'HTTP {status}'}")
            tips = wire.read_tips(bytes(self._received))
        except (BadPkt, BadPush) as bad:
            self.refuse(str(bad))
            return
        if old := wire.stale(self.asked.commands, tips):
            self.refuse("", old)
        elif all(command.deletes for command in self.asked.commands):
            self.send(0)
        else:
            self._court = Court(self, tips)

    def fetch(self, body: bytes, took: Callable[[bytes], object], done: Callable[[int, str], object]) -> None:
        """For the judge: the remote's history. The one thing it can have, and of this repository alone."""
        self._call = self._calling("git-upload-pack", took, done, _FETCHED, body=body)

    def take_pack(self) -> None:
        """For the judge: it is ready for the client's pack."""
        self._intake.turn(PACK)

    def send(self, size: int) -> None:
        """It is judged: make the push, with a pack of `size` bytes, which follows. What was granted may be no more."""
        state, origin = self.conversation.state, self.origin
        asked = state.request(origin.host, origin.port, "POST", self._attempt.path, tls=origin.tls)
        if not asked.allow or asked.rule != self._rule:
            self.refuse(f"it is not granted any more ({asked.reason or 'the rule has changed'})")
            return
        if self._court and self._attempt.pushed is not None:
            self._attempt.pushed |= self._court.facts
        self.conversation.commands.append(self._attempt.record(allow=True, rule=self._rule))
        self._sending = True
        self._received.clear()
        self._call = self._calling(
            "git-receive-pack", lambda piece: self._more(piece, wire.MAX_ANSWER), self._answered, _TAKEN,
            body=wire.write_commands(self.asked.commands), follows=size,
        )  # fmt: skip

    def give_up(self, why: str) -> None:
        """The judge is gone while its pack was on its way: the remote must not take what came for a whole one."""
        if self._call:
            self._call.fail(why)

    def send_pack(self, piece: bytes) -> None:
        if self._call:
            self._call.write(piece)

    def _answered(self, status: int, why: str) -> None:
        """The remote has answered the push."""
        try:
            if status != 200:
                raise BadPush(why or f"HTTP {status}")
            answer = wire.read_answer(bytes(self._received), self.asked.commands)
        except (BadPkt, BadPush) as bad:
            why = f"the remote did not answer: {bad}"
            self._record(why, status)
            unknown = [(command.ref, why) for command in self.asked.commands]
            self._end_with(self._told(unknown, f"claude-bottle: it is not known what the remote has done: {bad}"))
            return
        self._record("; ".join(f"{ref}: {one}" for ref, one in answer.results.items() if one), status)
        self._end_with(self._told(list(answer.results.items()), answer.said, answer.unpack))

    # Ends

    def refuse(self, why: str, refs: dict[str, str] | None = None) -> None:
        """None of it goes up. `refs`: why, where it is about some of them."""
        if self._answer is not None or self._sending:
            return
        told = refs or {}
        lines = [*([why] if why else []), *(f"{ref}: {reason}" for ref, reason in told.items())]
        record = self._attempt.record(allow=False, reason=reasons.PUSH_REFUSED, rule=self._rule, detail="; ".join(lines))
        self.conversation.commands.append(record)
        rest = why or "another ref of this push is refused, so all of it is"
        said = "\n".join(["claude-bottle: the push is refused, all of it:", *(f"  {line}" for line in lines),
                          f"  ({self._attempt.id}; what is granted: curl http://bottle.internal/policy)"])  # fmt: skip
        self._end_with(self._told([(one.ref, told.get(one.ref) or rest) for one in self.asked.commands], said))

    def _told(self, results: list[tuple[str, str]], said: str, unpack: str = "ok") -> bytes:
        hidden = [(secret.decode("latin-1"), inject.REDACTED.decode()) for secret in self._secrets]
        for secret, mark in hidden:
            said, unpack = said.replace(secret, mark), unpack.replace(secret, mark)
            results = [(ref, why.replace(secret, mark)) for ref, why in results]
        text = pktline.answer(results, said, bands=self.asked.bands, status=self.asked.status, unpack=unpack)
        return response(200, _KIND, text, close=True)

    def _end_with(self, answer: bytes) -> None:
        """Answer, once the client has sent all that it wants to."""
        for part in (self._call, self._court):
            if part is not None:
                part.drop()
        self._call = self._court = None
        self._answer = answer
        self.conversation.timer(limits.IDLE_WITHIN, idle=True)
        self._intake.turn(DRAIN)

    def _say(self) -> None:
        if self._answer is not None:
            self.conversation.client.write(self._answer)
            self._record("")
            self.conversation.finish("")

    def _record(self, why: str, status: int = 0) -> None:
        if not self._recorded:
            self._recorded = True
            self._attempt.up = self._intake.taken
            elapsed = self.conversation.state.clock() - self._started
            self.conversation.commands.append(self._attempt.traffic(elapsed, status=status, why=why))
