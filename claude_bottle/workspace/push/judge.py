"""The judge of one push: all it would bring is looked at, against what the remote really has, before any of it goes up.

`judge` tells the whole story: history, pack, reach, history kept, contents, secrets, then the pack that goes on, which is
made anew of exactly the objects that were judged. It runs alone in a confined process without a credential or a network;
the gate at the other end of `line` does what it is asked for, or ends it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.model import judging
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.judging import BadFrame, Frames, frame, saying
from claude_bottle.model.push import Command
from claude_bottle.redact import printable
from claude_bottle.workspace.push import contents, history, secrets
from claude_bottle.workspace.push.quarantine import Object, Quarantine, Refuse, Tools
from claude_bottle.workspace.push.signing import Signer, rewrite

MAX_OBJECTS, MAX_COMMITS = 200_000, 10_000
# What the new objects may come to once they are unpacked, in sizes of a pack: deltas of text are at most about as good.
_UNPACKED = 40
_LEAST_UNPACKED = 64 << 20
_READ = 256 << 10
_SHOWN = 12


class Job(NamedTuple):
    """What is to be judged. `tips`: the ids of all branches and tags that the remote has at this moment. What the operator
    has approved of it: `approved`, that files run by themselves; `let_through`, findings that are no secrets, by key."""

    commands: tuple[Command, ...]
    tips: tuple[str, ...]
    grant: GitGrant
    repository: str
    approved: bool = False
    let_through: tuple[str, ...] = ()

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Job:
        commands = tuple(Command(one["old"], one["new"], one["ref"]) for one in data["commands"])
        return Job(commands, tuple(data["tips"]), GitGrant.from_dict(data["grant"]), str(data["repository"]),
                   data["approved"] is True, tuple(data["let_through"]))  # fmt: skip


class Line:
    """The judge's end of the line to the gate. BadFrame for whatever is out of turn, and for its end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._frames = sock, Frames()
        self._incoming = self._receive()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def take(self, *kinds: bytes) -> tuple[bytes, bytes]:
        """The next frame, which must be one of these."""
        kind, payload = next(self._incoming)
        if kind not in kinds:
            raise BadFrame("out of turn")
        return kind, payload

    def ask(self, body: bytes) -> Iterator[bytes]:
        """The pieces of the remote's answer to a fetch."""
        if len(body) > judging.MAX_FRAME:
            raise Refuse("the remote has too many branches and tags")
        self.send(frame(judging.FETCH, body))
        while (got := self.take(judging.HISTORY, judging.HISTORY_END))[0] == judging.HISTORY:
            yield got[1]
        if got[1]:
            raise Refuse(f"the remote's history could not be fetched: {got[1].decode('utf-8', 'replace')}")

    def pack(self) -> Iterator[bytes]:
        """The pieces of the pack that is pushed."""
        self.send(frame(judging.GO))
        while (got := self.take(judging.PACK, judging.PACK_END))[0] == judging.PACK:
            yield got[1]

    def wait(self) -> None:
        """Until the gate has heard all of it: what is still on its way would be lost with this end of the line."""
        while self._sock.recv(_READ):
            pass

    def _receive(self) -> Iterator[tuple[bytes, bytes]]:
        while data := self._sock.recv(_READ):
            yield from self._frames.feed(data)
        raise BadFrame("the gate has left")


def judge(sock: socket.socket, place: Path, tools: Tools, signer: socket.socket | None = None) -> None:
    """Judge one push, and say so. `place` is a private directory; what it keeps of remotes between pushes lies there too.
    `signer` leads to whoever signs commits."""
    line = Line(sock)
    job = Job.from_dict(judging.said(line.take(judging.JOB)[1]))
    try:
        quarantine = Quarantine(tools, place / "push", place / "history" / _folder(job.repository))
        found = _judged(job, quarantine, line)
        job, found = _signed(job, quarantine, found, Signer(signer))
    except Refuse as refused:
        why = [printable(refused.why)[:1000]]
        line.send(saying(judging.VERDICT, allow=False, why=why, ref=refused.ref, needs=refused.needs))
    except BottleError as problem:
        why = [printable(f"git could not make sense of it: {problem.why or problem.what}")[:1000]]
        line.send(saying(judging.VERDICT, allow=False, why=why, ref=""))
    else:
        _hand_on(_packed(job, quarantine), found, line)
    line.wait()


def _hand_on(pack: Path, found: Mapping[str, object], line: Line) -> None:
    line.send(saying(judging.VERDICT, allow=True, size=pack.stat().st_size, **found))
    with pack.open("rb") as file:
        while data := file.read(judging.PIECE):
            line.send(frame(judging.JUDGED, data))
    line.send(frame(judging.JUDGED_END))


def _judged(job: Job, quarantine: Quarantine, line: Line) -> dict[str, object]:
    """The facts of a push that may go on. Refuse for any other."""
    if len(job.tips) > history.MAX_TIPS:
        raise Refuse("the remote has too many branches and tags")
    history.complete(quarantine, job.tips, line.ask)
    _receive(job, quarantine, line)
    commits, names = _reach(job, quarantine)
    new = _sizes(job, quarantine, names)
    for command in job.commands:
        _check_command(command, job.grant, quarantine)
    _check_extra(quarantine, names)
    changes = list(contents.changes(quarantine, commits))
    needed = contents.examine(quarantine, changes, [one for one in _tips(job) if _is_tree(quarantine, one)])
    named = {change.id: change.path for change in changes} | {one: name for one, name in names.items() if name}
    leaks = secrets.found(quarantine, new, {one: named.get(one, "") for one in new} | _paths(changes))
    leaks = [one for one in leaks if one.key not in job.let_through]
    triggers = [] if job.approved else [[kind, path] for kind, paths in needed.items() for path in paths]
    if leaks or triggers:
        text = contents.diff(quarantine, commits, [path for _, path in triggers]) if triggers else ""
        needs: dict[str, object] = {"triggers": triggers, "diff": text, "secrets": leaks}
        raise Refuse(_why(leaks, needed), needs=needs if all(one.key for one in leaks) else None)
    return {"commits": len(commits), "objects": len(new), "paths": len({change.path for change in changes})}


def _signed(
    job: Job, quarantine: Quarantine, found: dict[str, object], signer: Signer
) -> tuple[Job, dict[str, object]]:
    """The job with the commits that go up in its place, and the facts with what was made of which."""
    if not job.grant.sign:
        return job, found
    out = quarantine.run("rev-list", "--topo-order", "--reverse", "--stdin", input=_asked(job, quarantine))
    made = rewrite(quarantine, out.decode().split(), _tips(job), signer)
    commands = tuple(one._replace(new=made.get(one.new, one.new)) for one in job.commands)
    named = {one.new: made[one.new] for one in job.commands if one.new in made}
    return job._replace(commands=commands), {**found, "signed": len(made), "made": named}


def _receive(job: Job, quarantine: Quarantine, line: Line) -> None:
    """Take the pack in. It is checked as it comes: every object by fsck, every link to another one, its size."""
    most = job.grant.max_pack
    index = quarantine.feeding("index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={most}")
    count = 0
    for piece in line.pack():
        if count == 0 and not piece.startswith(b"PACK"):
            index.end()
            raise Refuse("what follows the commands is not a pack")
        count += len(piece)
        if count <= most:
            index.feed(piece)
    why = index.end()
    if count > most:
        raise Refuse(f"the push is larger than {most} bytes, which is what is granted")
    if why:
        raise Refuse(f"git's own checks refuse it: {why}")


def _tips(job: Job) -> list[str]:
    return sorted({command.new for command in job.commands if not command.deletes})


def _asked(job: Job, quarantine: Quarantine) -> bytes:
    """For rev-list: what the pushed ids lead to, and the remote's own tips do not."""
    known = "".join(f"^{one}\n" for one in sorted(quarantine.objects(job.tips)))
    return ("".join(f"{one}\n" for one in _tips(job)) + known).encode()


def _is_tree(quarantine: Quarantine, one: str) -> bool:
    return quarantine.holds("rev-parse", "--quiet", "--verify", f"{one}^{{tree}}")


def _reach(job: Job, quarantine: Quarantine) -> tuple[list[str], dict[str, str]]:
    """The new commits, and every new object with its (first) name: what the pushed ids lead to and the remote's own tips do
    not. Whatever is missing on the way is a refusal."""
    asked = _asked(job, quarantine)
    try:
        commits = quarantine.run("rev-list", "--stdin", f"--max-count={MAX_COMMITS + 1}", input=asked).decode().split()
        if len(commits) > MAX_COMMITS:
            raise Refuse(f"more than {MAX_COMMITS} new commits in one push")
        out = quarantine.run("rev-list", "--objects", "--stdin", input=asked)
    except BottleError as problem:
        raise Refuse(f"it leads to objects that are neither in it nor at the remote: {problem.why}") from None
    names = {}
    for entry in out.decode("utf-8", "surrogateescape").splitlines():
        one, _, name = entry.partition(" ")
        names[one] = name
    if len(names) > MAX_OBJECTS:
        raise Refuse(f"more than {MAX_OBJECTS} new objects in one push")
    return commits, names


def _sizes(job: Job, quarantine: Quarantine, names: Iterable[str]) -> list[str]:
    """The ids of the new objects, once their sizes are known to be bearable."""
    found = quarantine.objects(names)
    total = sum(one.size for one in found.values())
    if total > max(_UNPACKED * job.grant.max_pack, _LEAST_UNPACKED):
        raise Refuse(f"its objects come to {total} bytes once they are unpacked, which is too much")
    largest = max(found.values(), key=lambda one: one.size, default=Object("", "", 0))
    if largest.size > max(4 * job.grant.max_pack, _LEAST_UNPACKED):
        raise Refuse(f"one of its objects has {largest.size} bytes, which is too much")
    return sorted(found)


def _check_command(command: Command, grant: GitGrant, quarantine: Quarantine) -> None:
    if command.deletes:
        return
    kind = next((one.kind for one in quarantine.objects([command.new]).values()), "")
    branch = command.ref.startswith("refs/heads/")
    if kind not in (("commit",) if branch else ("commit", "tag")):
        raise Refuse(f"it is not a commit but {kind or 'not there'}", command.ref)
    if command.creates or grant.force:
        return
    if not branch:
        raise Refuse("a tag is not moved, once it is there", command.ref)
    if not quarantine.holds("merge-base", "--is-ancestor", command.old, command.new):
        raise Refuse("it would lose commits that the remote has (not a fast-forward): rewriting history is not granted",
                     command.ref)  # fmt: skip


def _check_extra(quarantine: Quarantine, names: Mapping[str, str]) -> None:
    """What came besides: an object that no pushed ref leads to would lie at the remote unseen."""
    beside = quarantine.received() - names.keys()
    extra = beside - quarantine.objects(beside, history=True).keys()
    if extra:
        raise Refuse(f"{len(extra)} objects came with it that none of its refs leads to")


def _paths(changes: Iterable[contents.Change]) -> dict[str, str]:
    """All changed names, for whoever looks for secrets in names."""
    return {f"name {number}": change.path for number, change in enumerate(changes)}


def _why(leaks: Sequence[secrets.Finding], needed: Mapping[str, list[str]]) -> str:
    if not leaks:
        return "it changes what runs by itself, which needs the operator's approval: " + _listed(needed)
    shown = "; ".join(map(str, leaks[:_SHOWN]))
    return (f"it looks like secrets are in it: {shown} (take them out of every new commit; the operator may let through what "
            "is none)")  # fmt: skip


def _listed(needed: Mapping[str, list[str]]) -> str:
    said = []
    for trigger, paths in needed.items():
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        said.append(f"{trigger}: {', '.join(paths[:_SHOWN])}{more}")
    return "; ".join(said)


def _packed(job: Job, quarantine: Quarantine) -> Path:
    """The pack that goes on: made anew, of what the pushed ids lead to and the remote has not."""
    pack = quarantine.place / "judged.pack"
    with pack.open("wb") as file:
        argv = quarantine.argv("pack-objects", "--revs", "--stdout", "--delta-base-offset", "--quiet")
        made = proc.popen(argv, env=quarantine.environment(), cwd=quarantine.place, stdin=proc.PIPE, stdout=file,
                          stderr=proc.DEVNULL)  # fmt: skip
        made.communicate(_asked(job, quarantine))
    if made.returncode != 0:
        raise BottleError("the judged objects could not be packed")
    return pack


def _folder(repository: str) -> str:
    from hashlib import sha256

    return sha256(repository.encode()).hexdigest()[:32]
