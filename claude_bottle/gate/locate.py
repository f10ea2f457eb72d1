"""Where a request goes: what it says of its host must agree with what its connection said.

A connection speaks first (the address dialled, the TLS name, the CONNECT target); the URL and the Host header of every
request on it are then put into the one canonical spelling and compared. Any disagreement is a refusal. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate.dns import INTERNAL_NAME
from claude_bottle.model import policy as reasons
from claude_bottle.model.hosts import BadHost, split_authority
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.head import Request
    from claude_bottle.model.policy import Decision

    Connect = Callable[[str, int], Decision]

_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Place:
    """What the connection said about itself. `name` None: nothing that means a name. `explicit`: the proxy port,
    where each request names its own place."""

    name: str | None
    port: int
    tls: bool
    explicit: bool = False


class Refusal(Exception):
    """The request is refused for `reason`; `detail` is for the journal."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def locate(place: Place, request: Request, attempt: Attempt, connect: Connect) -> tuple[str, int, bytes]:
    """Canonical host and port of the request, and its target in origin form; `attempt` learns both as soon as they are
    known. `connect` is the policy's decision about a place. Raises Refusal."""
    said = next((value for name, value in request.headers if name == b"host"), b"")  # CONNECT in HTTP/1.0 needs none
    absolute = _ABSOLUTE.fullmatch(request.target)
    if absolute is None:
        if not request.target.startswith(b"/"):
            raise Refusal(reasons.BAD_REQUEST, "a target that is neither a path nor a URL")
        host, port = authority(said, place.port or 80)
        attempt.host, attempt.port = host, port
        if place.explicit and host != INTERNAL_NAME:
            raise Refusal(reasons.BAD_REQUEST, "a proxy request needs the whole URL")
        rest = request.target
    else:
        scheme, url_authority, rest = absolute.groups()
        secure = scheme.lower() == b"https"
        if secure != place.tls:
            raise Refusal(reasons.BAD_REQUEST, "https in plain text" if secure else "http inside TLS")
        default = 443 if secure else 80
        host, port = authority(url_authority, default)
        attempt.host, attempt.port = host, port
        if authority(said, default if place.explicit else place.port) != (host, port):
            reason = reasons.NAME_MISMATCH if place.explicit else reasons.BAD_REQUEST
            raise Refusal(reason, "Host is not the URL's host")
        if not place.explicit and (host, port) != (place.name, place.port):
            raise Refusal(reasons.BAD_REQUEST, "a URL for another place than the connection's")
        rest = rest if rest.startswith(b"/") else b"/" + rest
    if not place.explicit and (host, port) != (place.name, place.port):
        raise Refusal(_mismatch(host, port, connect), f"the connection is for {place.name}:{place.port}")
    return host, port, rest


def connect_target(request: Request, attempt: Attempt) -> tuple[str, int]:
    """The same for a CONNECT request."""
    host, port = authority(request.target, None)
    attempt.host, attempt.port = host, port
    for name, value in request.headers:
        if name == b"host" and authority(value, port) != (host, port):
            raise Refusal(reasons.NAME_MISMATCH, "Host is not the CONNECT target")
    if request.has_body:
        raise Refusal(reasons.BAD_REQUEST, "CONNECT with a body")
    return host, port


def authority(raw: bytes, default_port: int | None) -> tuple[str, int]:
    """A Host header, a URL's authority or a CONNECT target in its one spelling. Refusal for anything else."""
    try:
        return split_authority(raw, default_port)
    except BadHost as bad:
        raise Refusal(reasons.BAD_HOST, bad.reason) from None


def _mismatch(host: str, port: int, connect: Connect) -> str:
    """A place that is not granted anyway is called that; a granted one in the wrong connection is a mismatch."""
    decision = connect(host, port)
    return reasons.NAME_MISMATCH if decision.allow or host == INTERNAL_NAME else decision.reason
