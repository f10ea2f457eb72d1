"""The gate's side of one judgement: the job to the judge, what it asks for, the verdict, and the pack it lets through.

A judge reads hostile packs, so it is believed in one thing only, whether the push may go on; the commands, the place and the
credential stay with the gate. What comes out of turn, or too much of it, refuses the push.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from claude_bottle.model import judging
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.judging import BadFrame, Frames, frame, pieces, said, saying
from claude_bottle.model.push import ZERO, Asked, branches_and_tags, is_id

if TYPE_CHECKING:
    from claude_bottle.gate.conversation import Conversation
    from claude_bottle.gate.push_approval import Approval

MAX_TIPS = 50_000
# Of the pack that the judge made anew: without deltas against what the remote has, it may be larger than what came.
_GROWN = 20
_FAILED = "the judge of pushes failed; the operator must look"


class Case(Protocol):
    """The push that is judged."""

    asked: Asked
    grant: GitGrant
    conversation: Conversation

    @property
    def place(self) -> str: ...
    def fetch(self, body: bytes, took: Callable[[bytes], object], done: Callable[[int, str], object]) -> None: ...
    def take_pack(self) -> None: ...
    def send(self, size: int, made: Mapping[str, str] = ...) -> None: ...
    def send_pack(self, piece: bytes) -> None: ...
    def refuse(self, why: str, refs: dict[str, str] | None = None) -> None: ...
    def give_up(self, why: str) -> None: ...


class Court:
    """`link` leads to the judge. `facts` are what an allowed push comes to."""

    def __init__(self, case: Case, tips: Mapping[str, str], approval: Approval) -> None:
        self._case, self._tips, self._approval = case, branches_and_tags(tips), approval
        self._conversation = case.conversation
        self._frames = Frames()
        self._fetching = self._taking = self._sent_all = self.over = False
        self._left: int | None = None  # of the judged pack
        self.facts: dict[str, object] = {}
        self.link = self._conversation.judge()

    def begin(self) -> None:
        """The judge is there."""
        if len(self._tips) > MAX_TIPS:
            self._case.refuse("the remote has too many branches and tags")
            return
        commands = [command.to_dict() for command in self._case.asked.commands]
        files, findings = self._approval.lifts()
        self._say(saying(judging.JOB, commands=commands, tips=self._tips, grant=self._case.grant.to_dict(),
                         repository=self._case.place, approved=files, let_through=findings))  # fmt: skip

    def pack(self, piece: bytes) -> None:
        for one in pieces(judging.PACK, piece):
            self._say(one)

    def pack_ended(self) -> None:
        self._sent_all = True
        self._say(frame(judging.PACK_END))

    def received(self, data: bytes | bytearray | memoryview) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                if self.over:
                    return
                self._heard(kind, payload)
        except (BadFrame, KeyError, TypeError, ValueError):
            self.lost(_FAILED)

    def lost(self, why: str) -> None:
        """The judge is gone, or was never there."""
        if self.over or self._left == 0:
            return
        if self._left is None:
            self._case.refuse(why or _FAILED)
        else:
            self._case.give_up(why or _FAILED)

    def drop(self) -> None:
        if not self.over:
            self.over = True
            self._conversation.abort(self.link)

    def _heard(self, kind: bytes, payload: bytes) -> None:
        if kind == judging.FETCH and not (self._fetching or self._taking):
            self._fetching = True
            self._case.fetch(payload, self._history, self._history_done)
        elif kind == judging.GO and not (self._fetching or self._taking):
            self._taking = True
            self._case.take_pack()
        elif kind == judging.VERDICT and self._left is None and not self._fetching:
            self._verdict(said(payload))
        elif kind == judging.JUDGED and self._left is not None and len(payload) <= self._left:
            self._left -= len(payload)
            self._case.send_pack(payload)
        elif kind == judging.JUDGED_END and self._left == 0:
            self.drop()
        else:
            raise BadFrame("out of turn")

    def _verdict(self, told: dict[str, Any]) -> None:
        if told["allow"] is not True:
            why = "; ".join(str(one) for one in told["why"])[:2000]
            ref = str(told.get("ref", ""))
            if isinstance(told.get("needs"), dict):
                self._approval.ask(why, told["needs"])
                return
            known = any(command.ref == ref for command in self._case.asked.commands)
            self._case.refuse("" if known else why, {ref: why} if known else None)
            return
        size = told["size"]
        if not self._sent_all or type(size) is not int or not 0 <= size <= _GROWN * self._case.grant.max_pack:
            raise BadFrame("a verdict that cannot be")
        self.facts = {key: told[key] for key in ("commits", "objects", "paths", "signed") if type(told.get(key)) is int}
        made = self._made(told)
        self._left = size
        self._conversation.hold(self.link, True)  # until the remote listens
        self._case.send(size, made)

    def _made(self, told: dict[str, Any]) -> dict[str, str]:
        """Commits that were made anew. None of them makes a deletion of what is pushed, or the other way round."""
        made = told.get("made", {})
        if not isinstance(made, dict) or (made and not self._case.grant.sign):
            raise BadFrame("commits that nobody wanted anew")
        if not all(is_id(one) and one != ZERO for pair in made.items() for one in pair):
            raise BadFrame("commits that are none")
        return made

    def _history(self, piece: bytes) -> None:
        for one in pieces(judging.HISTORY, piece):
            self._say(one)

    def _history_done(self, status: int, why: str) -> None:
        self._fetching = False
        problem = "" if status == 200 else why or f"HTTP {status}"
        self._say(frame(judging.HISTORY_END, problem.encode()[:1000]))

    def _say(self, data: bytes) -> None:
        if not self.over and self.link in self._conversation.channels:
            self._conversation.channels[self.link].write(data)
