"""What one gate knows and how it decides: policy, names, credentials, certificates, and whether it is halted.

Every connection and request, however it arrived, is judged by `connect` and `request` here and by nothing else; the
same canonical host and port then choose credential, dialled place, certificate check and journal line. No I/O.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate.dns import INTERNAL_NAME, AddressBook
from claude_bottle.gate.inject import Injector
from claude_bottle.model.policy import GATE_HALTED, Decision, Policy
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    import ssl

    from claude_bottle.gate.ca import Authority
    from claude_bottle.gate.core import Origin


@dataclass
class GateState:
    """Everything the conversations of one bottle share. `client_tls` gives the context an origin is verified with."""

    policy: Policy
    client_tls: Callable[[Origin], ssl.SSLContext]
    authority: Authority | None = None
    injector: Injector = field(default_factory=lambda: Injector(()))
    explicit_proxy: bool = True
    halted: bool = False
    judges: bool = False
    """Whether pushes can be judged here at all."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.book = AddressBook(self.policy.names())

    def connect(self, host: str, port: int) -> Decision:
        """May a connection to this canonical place begin?"""
        return Decision(False, GATE_HALTED) if self.halted else self.policy.connect(host, port)

    def request(
        self, host: str, port: int, method: str, path: str, *, tls: bool, query: str | None = None
    ) -> Decision:
        """May this request go up?"""
        if self.halted:
            return Decision(False, GATE_HALTED)
        return self.policy.request(host, port, method, path, tls=tls, query=query)

    def dialled_name(self, address: str) -> str | None:
        """The name a connection to `address` meant; None when no name was given that address."""
        return INTERNAL_NAME if address == "127.0.0.1" else self.book.name(address)


def new_id() -> str:
    """A fresh id that ties an answer to its journal line."""
    return f"r-{os.urandom(6).hex()}"
