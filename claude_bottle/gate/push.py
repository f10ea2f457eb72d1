"""One push, from the client's first command to the answer it gets: received, judged, and only then made at the remote.

In order: commands (refused by name before anybody upstream hears of them), the remote's real tips, a judge, who may fetch
the remote's history through here, the client's pack to the judge, the verdict, then the judge's own pack to the remote
with commands written anew. A refusal at any point is told to git as an answer to its push, once it has sent what it had to
send. The credential stays here. Logic only, like every exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from claude_bottle.gate import limits, push_words
from claude_bottle.gate.locate import Refusal
from claude_bottle.gate.push_approval import Approval
from claude_bottle.gate.push_court import Court
from claude_bottle.gate.push_intake import COMMANDS, DRAIN, PACK, Intake
from claude_bottle.gate.push_remote import PUSHED, Remote
from claude_bottle.model import policy as reasons
from claude_bottle.model import push as wire
from claude_bottle.model.git_request import PACK as STEP_PACK
from claude_bottle.model.git_request import PUSH
from claude_bottle.model.pktline import BadPkt
from claude_bottle.model.push import Asked, BadPush

if TYPE_CHECKING:
    from claude_bottle.gate import core
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.decide import GateState
    from claude_bottle.gate.head import Headers, Request
    from claude_bottle.gate.http import HttpStage
    from claude_bottle.model.policy import Rule

_NO_MORE = "it is not granted any more"


def is_push(attempt: Attempt, state: GateState) -> bool:
    """Whether an allowed request is one, with its commands and pack. Refusal where none can be judged at all."""
    asked = attempt.git
    if asked is None or asked.kind != PUSH:
        return False
    if not state.judges:
        attempt.said = "nothing could be pushed by any rule when this bottle began, so nobody judges pushes here"
        raise Refusal(reasons.PUSH_REFUSED, attempt.said)
    return asked.step == STEP_PACK


class Push:
    """An exchange that `HttpStage` runs in place of an ordinary one."""

    def __init__(
        self, stage: HttpStage, request: Request, attempt: Attempt, origin: core.Origin, headers: Headers, target: str,
        secrets: tuple[bytes, ...], rule: Rule,
    ) -> None:  # fmt: skip
        if rule.git is None:
            raise ValueError("not a rule for git")
        self.request, self._attempt, self.origin = request, attempt, origin
        self.conversation, self._rule, self.grant = stage.conversation, rule, rule.git
        self._secrets = secrets
        self._approval = Approval(self)
        self.told, self.broken = self._approval.told, self.conversation.cut
        self._remote = Remote(self.conversation, origin, target.removesuffix("/git-receive-pack"), headers)
        self._intake = Intake(request, self, stage.take_buffer)
        self.asked = Asked((), False, False)
        self._made: dict[str, str] = {}  # commits that were signed: ids as they came, and as they go up
        self._answer: bytes | None = None
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

    @property
    def outlives_client(self) -> bool:
        return self._intake.done

    @property
    def repository(self) -> str:
        return self._attempt.git.repository if self._attempt.git else ""

    @property
    def place(self) -> str:
        return self._remote.place

    def owns(self, link: int) -> bool:
        return any(part is not None and part.link == link for part in (self._remote.call, self._court))

    def begin(self) -> None:
        self.conversation.timer(limits.IDLE_WITHIN, idle=True)
        self.conversation.flow_changed = self._flow
        if self.request.expects:
            self.conversation.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if [pair for pair in self.request.headers if pair[0] in (b"content-type", b"content-encoding")] != [PUSHED]:
            self.not_a_push("a push is of the type application/x-git-receive-pack-request, and not compressed")
        else:
            self._intake.turn(COMMANDS)

    def client_received(self, data: bytes | bytearray | memoryview) -> bytes:
        self._intake.received(data)
        return b""  # the connection ends with the answer: nothing that follows is looked at

    def link_ready(self, link: int) -> None:
        self.conversation.timer(limits.IDLE_WITHIN, idle=True)
        if self._remote.call and self._remote.call.link == link:
            self._remote.call.ready()
            if self._sending and self._court:
                self.conversation.hold(self._court.link, False)
        elif self._court:
            self._court.begin()

    def link_received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        if self._remote.call and self._remote.call.link == link:
            self._remote.call.received(bytes(data))
        elif self._court:
            self._court.received(data)

    def link_ended(self, link: int, *, truncated: bool) -> None:
        if self._remote.call and self._remote.call.link == link:
            self._remote.call.ended(truncated=truncated)
        elif self._court:
            self._court.lost("")

    def failed(self, reason: str, detail: str) -> None:
        """A link that was asked for is not there."""
        call = self._remote.call
        if call and not call.over and call.link not in self.conversation.channels:
            call.fail(f"{reason}: {detail}")
        elif self._court:
            self._court.lost(detail)

    def _flow(self, link: int, clogged: bool) -> None:
        """Whoever is slow holds back whoever feeds it."""
        if self._remote.call and self._court and link in (self._remote.call.link, self._court.link):
            self.conversation.hold(self._court.link if link == self._remote.call.link else self._remote.call.link, clogged)

    def expired(self) -> None:
        """The time for what it waits for is over."""
        if self._remote.call is None or self._remote.call.is_ready or self._remote.call.over:
            self.conversation.finish("timed out")
        else:
            self._remote.call.fail("the server did not finish its TLS handshake in time")

    def judged(self) -> None:
        """The policy has changed: what it does not grant any more ends here, as far as that is still possible."""
        if self._answer is None and not self._stands():
            if self._sending:
                self.give_up(_NO_MORE)
            else:
                self.refuse(_NO_MORE)

    def _stands(self) -> bool:
        state, origin, path = self.conversation.state, self.origin, self._attempt.path
        return not state.halted and state.stands(self._rule, origin.host, origin.port, "POST", path, tls=origin.tls)

    def stop(self, why: str) -> None:
        self._record(why)

    def commands_read(self, lines: list[bytes]) -> None:
        self.asked = wire.read_commands(lines)
        if not self.asked.commands:
            self._end_with(push_words.nothing_asked())
            return
        self._attempt.push_of(self.asked.commands)
        if why := wire.ungranted(self.asked.commands, self.grant):
            self.refuse("", why)
        else:
            self._remote.ask_tips(self._tips)

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

    def _tips(self, status: int, why: str) -> None:
        """The remote has said what it has."""
        try:
            if status != 200:
                raise BadPush(f"the remote could not be asked what it has: {why or f'HTTP {status}'}")
            tips = wire.read_tips(bytes(self._remote.answer))
        except (BadPkt, BadPush) as bad:
            self.refuse(str(bad))
            return
        if old := wire.stale(self.asked.commands, tips):
            self.refuse("", old)
        elif all(command.deletes for command in self.asked.commands):
            self.send(0)
        else:
            self._court = Court(self, tips, self._approval)

    def fetch(self, body: bytes, took: Callable[[bytes], object], done: Callable[[int, str], object]) -> None:
        """For the judge: the remote's history. The one thing it can have, and of this repository alone."""
        self._remote.fetch(body, took, done)

    def take_pack(self) -> None:
        """For the judge: it is ready for the client's pack."""
        self._intake.turn(PACK)

    def send(self, size: int, made: Mapping[str, str] = MappingProxyType({})) -> None:
        """It is judged: make the push, with a pack of `size` bytes, which follows. What was granted may be no more. `made`:
        commits that go up with other ids."""
        if not self._stands():
            self.refuse(_NO_MORE)
            return
        if self._court and self._attempt.pushed is not None:
            self._attempt.pushed |= self._court.facts
        state, record = self.conversation.state, self._attempt.record(allow=True, rule=self._rule)
        used = [tell for rule in (self._rule, *self._approval.rules()) for tell in state.use(rule)]
        self.conversation.commands += [record, *used]
        self._sending = True
        self._made = dict(made)
        commands = tuple(one._replace(new=made.get(one.new, one.new)) for one in self.asked.commands)
        self._remote.push(commands, size, self._answered)

    def give_up(self, why: str) -> None:
        """It breaks off while its pack is on its way: the remote cannot take what came for a whole one."""
        if self._remote.call:
            self._remote.call.fail(why)

    def send_pack(self, piece: bytes) -> None:
        if self._remote.call:
            self._remote.call.write(piece)

    def _answered(self, status: int, why: str) -> None:
        """The remote has answered the push."""
        try:
            if status != 200:
                raise BadPush(why or f"HTTP {status}")
            answer = wire.read_answer(bytes(self._remote.answer), self.asked.commands)
        except (BadPkt, BadPush) as bad:
            why = f"the remote did not answer: {bad}"
            self._record(why, status)
            unknown = [(command.ref, why) for command in self.asked.commands]
            self._end_with(self._told(unknown, f"claude-bottle: it is not known what the remote has done: {bad}"))
            return
        self._record("; ".join(f"{ref}: {one}" for ref, one in answer.results.items() if one), status)
        signed = push_words.signed(self.asked.commands, self._made, answer.results)
        self._end_with(self._told(list(answer.results.items()), answer.said + signed, answer.unpack))

    def refuse(self, why: str, refs: dict[str, str] | None = None) -> None:
        """None of it goes up. `refs`: why, where it is about some of them."""
        if self._answer is not None or self._sending:
            return
        told = refs or {}
        lines = [*([why] if why else []), *(f"{ref}: {reason}" for ref, reason in told.items())]
        record = self._attempt.record(allow=False, reason=reasons.PUSH_REFUSED, rule=self._rule, detail="; ".join(lines))
        self.conversation.commands.append(record)
        rest = why or "another ref of this push is refused, so all of it is"
        said = push_words.refused(lines, self._attempt.id)
        self._end_with(self._told([(one.ref, told.get(one.ref) or rest) for one in self.asked.commands], said))

    def _told(self, results: list[tuple[str, str]], said: str, unpack: str = "ok") -> bytes:
        return push_words.answer(self.asked, results, said, self._secrets, unpack)

    def _end_with(self, answer: bytes) -> None:
        """Answer, once the client has sent all that it wants to."""
        self._remote.drop()
        if self._court is not None:
            self._court.drop()
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
