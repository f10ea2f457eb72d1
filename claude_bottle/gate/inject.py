"""Credentials: the operator's value goes up where the bottle's placeholder stood, and nobody else's goes with it.

A placeholder is replaced in one header only (the bound one), on a host and rule bound to its credential, over TLS; seen
anywhere else the request is refused. On a host some credential is bound to, every other means of signing in is refused
too: headers by name, query parameters by name; cookies are dropped, since jars send them unasked. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from claude_bottle.model.policy import CREDENTIAL_EXPIRED, CREDENTIAL_FOREIGN, CREDENTIAL_NEEDS_TLS

if TYPE_CHECKING:
    from claude_bottle.gate.head import Headers
    from claude_bottle.model.credentials import BoundCredential
    from claude_bottle.model.policy import Rule

# Names by which services take credentials, dashes and underscores alike. Substrings on purpose: vendors put their own
# name in front (`x-goog-api-key`, `x-amz-security-token`), and a refusal here costs the agent only a clear message.
_AUTH_HEADER = re.compile(
    rb"authori[sz]ation|api-?key|(auth|access|private|security|session|deploy|job|github|gitlab|refresh|id)-?token"
    rb"|^x-auth|^auth$|^token$|^x-token|client-?secret|^x-amz-(date|credential|signature)|^cookie2$"
)
_AUTH_PARAMETER = re.compile(
    rb"^(access|private|auth|id|session|refresh|personal|bearer|oauth)?[-_.]?token$|api[-_]?key$|^key$|^apikey$|^auth$"
    rb"|^authorization$|^(client[-_]?)?secret$|^password$|^sig(nature)?$|^x-(amz|goog)-(signature|credential)$"
)
# What may stand beside the placeholder in Basic (RFC 7617): a user name before it (too short for a token of the forges,
# some of which take one there), nothing after it but the word GitHub's manual has there.
_USER = re.compile(rb"[A-Za-z0-9._@+-]{0,39}")
_NO_PASSWORD = (b"", b"x-oauth-basic")
REDACTED = b"[redacted]"
# The user name that goes with a token as password: GitHub's word for it, and forges that ignore it take any.
GIT_USER = b"x-access-token"


class ForeignCredential(Exception):
    """The request carries a credential it may not, or may not any more. `reason` is one of the policy's."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason, self.what = reason, what


class Injector:
    """The bottle's credentials. Safe to log: its repr shows names only."""

    def __init__(self, credentials: Iterable[BoundCredential], expired: frozenset[str] = frozenset()) -> None:
        self._all, self._expired = tuple(credentials), expired
        self._bound_hosts = frozenset(host for one in self._all for host, _ in one.hosts)
        self._marks = tuple((one.placeholder.encode(), one) for one in self._all)

    def __repr__(self) -> str:
        return f"Injector({[one.spec.name for one in self._all]})"

    def signs_in(self, headers: Headers) -> tuple[str, ...]:
        """The credentials whose placeholders these headers carry."""
        found = (self._placeholder_in(name, value) for name, value in headers)
        return tuple(one.spec.name for one in found if one is not None)

    def placeholders(self) -> list[dict[str, object]]:
        """What the bottle may know of its credentials: which header to send, with the placeholder, and where."""
        return [
            {"name": one.spec.name, "header": one.spec.header, "value": one.spec.fill(one.placeholder),
             "hosts": [f"{host}:{port}" for host, port in one.hosts], "expired": one.spec.name in self._expired}
            for one in self._all
        ]  # fmt: skip

    @property
    def names(self) -> frozenset[str]:
        return frozenset(one.spec.name for one in self._all)

    def replaced(self, credentials: Iterable[BoundCredential]) -> Injector:
        """Other credentials from now on. A value that has expired stays so until another one comes."""
        fresh = tuple(credentials)
        stale = {one.spec.name: one.secret for one in self._all if one.spec.name in self._expired}
        return Injector(fresh, frozenset(one.spec.name for one in fresh if stale.get(one.spec.name) == one.secret))

    def refreshed(self, values: Mapping[str, str | None]) -> Injector:
        """The same credentials with new secrets by credential name, None for one that has expired: until it gets another
        value, requests that need it are refused. Names not held are ignored."""
        from dataclasses import replace

        from claude_bottle.model.credentials import Secret

        given = {name: value for name, value in values.items() if value is not None}
        fresh = (replace(one, secret=Secret(given[one.spec.name])) if one.spec.name in given else one for one in self._all)
        return Injector(fresh, (self._expired | values.keys()) - given.keys())

    def apply(
        self, host: str, port: int, *, tls: bool, rule: Rule, headers: Headers, target: bytes, git: bool = False
    ) -> tuple[Headers, tuple[bytes, ...]]:
        """The headers to send up, and the secrets now in them. `git`: it is git's, and gets the rule's credential where it
        comes without any. Raises ForeignCredential."""
        bound = host in self._bound_hosts
        self._check_target(target, bound)
        out: Headers = []
        used: list[bytes] = []
        for name, value in headers:
            found = self._placeholder_in(name, value)
            if found is not None:
                secret, value = self._replace(found, host, port, tls, rule, name, value)
                if secret in used:
                    raise ForeignCredential(CREDENTIAL_FOREIGN, f"two {_text(name)} headers")
                used.append(secret)
            elif bound and name == b"cookie":
                continue
            elif (bound and _AUTH_HEADER.search(_dashed(name))) or (bound and self._is_bound_header(host, name)):
                raise ForeignCredential(CREDENTIAL_FOREIGN, f"the header {_text(name)}")
            out.append((name, value))
        if git and not any(name == b"authorization" for name, _ in out) and (signed := self._sign_in(host, port, rule)):
            used.append(signed[0])
            out.append((b"authorization", signed[1]))
        return out, tuple(used)

    def _sign_in(self, host: str, port: int, rule: Rule) -> tuple[bytes, bytes] | None:
        """(secret, value of Authorization) for a git request that came without one: git asks for a password only once a
        server has refused it, and inside the bottle nobody has one. None when the rule names no credential. Raises
        ForeignCredential for one that has expired."""
        one = next((one for one in self._all if one.spec.name == rule.credential and (host, port) in one.hosts), None)
        if one is None:
            return None
        if one.spec.name in self._expired:
            raise ForeignCredential(CREDENTIAL_EXPIRED, f"the value of {one.spec.name} has expired")
        secret = one.secret.reveal().encode()
        return secret, b"Basic " + base64.b64encode(GIT_USER + b":" + secret)

    def _check_target(self, target: bytes, bound: bool) -> None:
        plain = unquote_to_bytes(target)
        if any(mark in target or mark in plain for mark, _ in self._marks):
            raise ForeignCredential(CREDENTIAL_FOREIGN, "a placeholder in the URL")
        if bound:
            for pair in re.split(rb"[&;]", target.partition(b"?")[2]):
                name = unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")).lower()
                if _AUTH_PARAMETER.search(name):
                    raise ForeignCredential(CREDENTIAL_FOREIGN, f"the query parameter {_text(name)}")

    def _placeholder_in(self, name: bytes, value: bytes) -> BoundCredential | None:
        basic = _basic(value)
        for mark, one in self._marks:
            if mark in value or (basic is not None and mark in basic) or mark.lower() in name:
                return one
        return None

    def _replace(
        self, one: BoundCredential, host: str, port: int, tls: bool, rule: Rule, name: bytes, value: bytes
    ) -> tuple[bytes, bytes]:
        """(secret, header value with it), if this is the place for it."""
        if not tls and host in (bound for bound, _ in one.hosts):
            raise ForeignCredential(CREDENTIAL_NEEDS_TLS, f"the placeholder of {one.spec.name} without TLS")
        if (host, port) not in one.hosts or rule.credential != one.spec.name:
            raise ForeignCredential(CREDENTIAL_FOREIGN, f"the placeholder of {one.spec.name}, which is not for this place")
        if name != one.spec.header.lower().encode():
            raise ForeignCredential(CREDENTIAL_FOREIGN, f"the placeholder of {one.spec.name} in {_text(name)}")
        if one.spec.name in self._expired:
            raise ForeignCredential(CREDENTIAL_EXPIRED, f"the value of {one.spec.name} has expired")
        secret = one.secret.reveal().encode()
        basic = _basic(value)
        if basic is not None:
            # Programs like git sign in with Basic; the placeholder is then one half of what is encoded.
            user, colon, password = basic.partition(b":")
            mark = one.placeholder.encode()
            if password == mark and _USER.fullmatch(user):
                password = secret
            elif user == mark and password in _NO_PASSWORD:
                user = secret
            else:
                raise ForeignCredential(CREDENTIAL_FOREIGN, f"more than the placeholder of {one.spec.name} in Basic")
            return secret, b"Basic " + base64.b64encode(user + colon + password)
        return secret, one.spec.fill(one.secret.reveal()).encode()

    def _is_bound_header(self, host: str, name: bytes) -> bool:
        said = _dashed(name)
        return any(
            said == _dashed(one.spec.header.lower().encode()) and host in (bound for bound, _ in one.hosts)
            for one in self._all
        )


def redact(headers: Headers, secrets: tuple[bytes, ...]) -> Headers:
    """Response headers with the injected secrets taken out, plain and in Basic form, should the upstream echo them."""
    if not secrets:
        return headers
    return [(name, _without(value, secrets)) for name, value in headers]


def _without(value: bytes, secrets: tuple[bytes, ...]) -> bytes:
    for secret in secrets:
        value = value.replace(secret, REDACTED)
    basic = _basic(value)
    if basic is not None and any(secret in basic for secret in secrets):
        return REDACTED
    return value


def _basic(value: bytes) -> bytes | None:
    """The decoded part of a Basic credential (RFC 7617), None if the value is none."""
    scheme, _, data = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(data.strip(), validate=True)
    except binascii.Error:
        return None


def _dashed(name: bytes) -> bytes:
    """A field's name as gateways compare it that take dashes and underscores for the same."""
    return name.replace(b"_", b"-")


def _text(name: bytes) -> str:
    return name.decode("ascii", "replace")
