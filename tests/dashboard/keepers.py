"""A keeper as far as a dashboard sees one: it speaks the control protocol, holds requests, and decides by the contract.

What it does not do is run a bottle. Its record names this process, so that it counts as running; `leave` is a keeper that
is gone. `knows` takes operations away, as an older keeper would have them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from hashlib import sha256
from typing import Any

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.model.changes import change_from_dict, narrower
from claude_bottle.state.files import ensure_private_dir
from claude_bottle.state.journal import Journal
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import RUNNING, BottleRecord, this_process, timestamp
from claude_bottle.state.sockets import bind_socket
from claude_bottle.state.store import Store

Message = dict[str, Any]
OPERATIONS = frozenset({"status", "requests", "follow_requests", "approve", "reject", "grant", "preview", "revoke"})


class FakeKeeper:
    def __init__(self, paths: Paths, identity: str, *, knows: frozenset[str] = OPERATIONS, version: int = 1,
                 session: str = "") -> None:  # fmt: skip
        self.paths, self.identity, self.knows, self._version = paths, identity, knows, version
        self.revision = 1
        self.views: dict[str, Message] = {}
        self.grants: list[Message] = []
        self.silent: set[str] = set()
        """Operations that are heard and never answered."""
        self.decided: list[Message] = []
        """What was asked for and done, in order: approve, reject and grant messages that went through."""
        self._lock = threading.Lock()
        self._followers: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        agent = identity.rpartition("-")[0]
        self.record = BottleRecord(identity, agent, "claude", "fake", status=RUNNING, created=timestamp(),
                                   session_id=session, keeper=this_process(), plan_digest="7f3a91c2" * 8)  # fmt: skip
        Store(paths).create(self.record)
        self.journal = Journal.open(paths, identity)
        ensure_private_dir(paths.run_dir)
        self._socket = socket.socket(socket.AF_UNIX)
        bind_socket(self._socket, paths.socket(identity))
        self._socket.listen(32)
        threading.Thread(target=self._serve, daemon=True).start()

    def happened(self, kind: str, **data: object) -> None:
        self.journal.append(kind, **data)

    def ask(self, number: int, change: Message, **fields: Any) -> Message:
        """A request as an agent makes it, and its view."""
        change = change_from_dict(change).to_dict()
        view = self.view(change) | {"id": f"q-{number:08d}", "hash": sha256(f"{self.identity}{number}".encode()).hexdigest()}
        view |= fields
        with self._lock:
            self.views[view["id"]] = view
            self._push()
        return view

    def view(self, change: Message) -> Message:
        rules = change.get("rules") or ([change["rule"]] if "rule" in change else [])
        what = [(" ".join(rule["methods"]) or "any", rule["host"], " ".join(rule["paths"]) or "/**") for rule in rules]
        lines = [f"+ {methods}  https://{host}{paths}" for methods, host, paths in what]
        return {
            "id": "", "identity": self.identity, "launch": "l-1", "kind": change["kind"], "state": "submitted", "hash": "",
            "revision": self.revision, "created": timestamp(), "via": "mcp", "scope": "", "outcome": "",
            "title": "a host", "summary": str(rules[0]["host"]) if rules else change["kind"],
            "approved": [], "until": "", "lines": lines or [f"+ {change}"[:70]], "effect": "in force at once, no restart",
            "reach": [*(f"{rule['host']}:{rule['port']}  new" for rule in rules), "api.anthropic.com:443"],
            "warnings": [], "change": change, "reason": "",
        }  # fmt: skip

    def granted(self, number: int, change: Message, **fields: Any) -> Message:
        """A grant in force, and its view."""
        view = self.view(change_from_dict(change).to_dict())
        made = {key: view[key] for key in ("kind", "created", "title", "summary", "lines", "change")}
        made |= {"id": f"g-{number:08d}", "request": f"q-{number:08d}", "scope": "session", "expires": "", "ended": "",
                 "credential": ""}  # fmt: skip
        with self._lock:
            self.grants.append(made | fields)
            self._push()
        return self.grants[-1]

    def change(self, request: str, **fields: Any) -> None:
        """Something about a request changes, without anybody asking."""
        with self._lock:
            self.views[request] |= fields
            self._push()

    def leave(self) -> None:
        """The keeper is gone, from one moment to the next; its record says so."""
        Store(self.paths).update(self.identity, keeper=None)
        self.close()

    def close(self) -> None:
        for sock in (self._socket, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.paths.socket(self.identity))
        with contextlib.suppress(OSError):
            self.journal.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(sock)
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        decoder = frames.Decoder()
        with contextlib.suppress(OSError):
            self._send(sock, {"op": "hello", "version": self._version, "identity": self.identity})
            while data := sock.recv(1 << 16):
                for _, payload in decoder.feed(data):
                    self._answer(sock, frames.decode_json(payload))

    def _answer(self, sock: socket.socket, message: Message) -> None:
        operation = str(message.get("op"))
        with self._lock:
            try:
                if operation not in self.knows:
                    raise BottleError(f"this keeper does not know the request {operation!r}",
                                      why="it was started by another version of claude-bottle")  # fmt: skip
                if operation not in self.silent:
                    getattr(self, f"_{operation}")(sock, message)
            except BottleError as problem:
                self._send(sock, {"op": "error", "error": problem.to_dict()})
                sock.shutdown(socket.SHUT_RDWR)

    def _status(self, sock: socket.socket, _message: Message) -> None:
        self._send(sock, {"op": "status", "identity": self.identity, "keeper": os.getpid(), "agent": os.getpid(),
                          "attached": 0, "execs": 0, "gate": "up", "io": "pty", "halted": False})  # fmt: skip

    def _requests(self, sock: socket.socket, _message: Message) -> None:
        self._send(sock, self._all())

    def _follow_requests(self, sock: socket.socket, _message: Message) -> None:
        self._followers.append(sock)
        self._send(sock, self._all())

    def _approve(self, sock: socket.socket, message: Message) -> None:
        view = self._shown(message)
        if view["revision"] != message.get("revision"):
            raise BottleError("the request is not what was shown", do="look again: claude-bottle requests")
        if message.get("change") and not narrower(change_from_dict(message["change"]), change_from_dict(view["change"])):
            raise BottleError("that is wider than what was asked for")
        self.decided.append(message)
        self._decide(sock, view, state="approved", scope=message["scope"])
        self._decide(sock, view, state="applied", outcome="in force")

    def _reject(self, sock: socket.socket, message: Message) -> None:
        view = self._shown(message)
        self.decided.append(message)
        self._decide(sock, view, state="rejected", outcome=message.get("reason", ""))

    def _grant(self, sock: socket.socket, message: Message) -> None:
        if message.get("revision") != self.revision:
            raise BottleError("the policy is not what was shown", do="look again")
        self.decided.append(message)
        view = self.view(change_from_dict(message["change"]).to_dict())
        view |= {"id": f"q-own{len(self.decided)}", "via": "operator"}
        self.views[view["id"]] = view
        self._decide(sock, view, state="applied", scope=message["scope"], outcome="in force")

    def _revoke(self, sock: socket.socket, message: Message) -> None:
        grant = next((one for one in self.grants if one["id"] == message.get("grant") and not one["ended"]), None)
        if grant is None:
            raise BottleError("no such grant is in force")
        self.decided.append(message)
        grant["ended"] = "revoked by the operator"
        self._send(sock, {"op": "revoked", "grant": grant})
        self._push()

    def _preview(self, sock: socket.socket, message: Message) -> None:
        view = self.view(change_from_dict(message["change"]).to_dict())
        if message.get("id"):
            asked = self.views[message["id"]]
            if not narrower(change_from_dict(message["change"]), change_from_dict(asked["change"])):
                raise BottleError("that is wider than what was asked for")
            view = asked | {key: view[key] for key in ("lines", "reach", "change")}
        self._send(sock, {"op": "preview", "view": view})

    def _shown(self, message: Message) -> Message:
        view = self.views.get(str(message.get("id")))
        if view is None or view["state"] != "submitted" or view["hash"] != message.get("hash"):
            raise BottleError("the request is not what was shown", do="look again: claude-bottle requests")
        return view

    def _decide(self, sock: socket.socket, view: Message, **fields: Any) -> None:
        view |= fields
        self._send(sock, {"op": "decided", "request": view})
        self._push()

    def _all(self) -> Message:
        return {"op": "requests", "identity": self.identity, "launch": "l-1", "revision": self.revision,
                "requests": list(self.views.values()), "grants": list(self.grants)}  # fmt: skip

    def _push(self) -> None:
        for sock in list(self._followers):
            try:
                self._send(sock, self._all())
            except OSError:
                self._followers.remove(sock)

    def _send(self, sock: socket.socket, message: Message) -> None:
        sock.sendall(frames.encode_json(message))


HOST: Message = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}]}
