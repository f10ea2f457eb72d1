"""The one decision: may this bottle reach this host and port, and may it send this request?

DNS stub, transparent listeners and explicit proxy all ask a `Policy`, which is made of rules that only ever
grant: what no rule grants is refused, rules add up, their order does not matter, and removing one never grants
anything. A rule is for one host, or (`*.example.com`) for every direct subdomain of one domain. Rules check
themselves when made, so a rule that exists is sound. Pure: nothing is resolved, opened or recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from claude_bottle.model.credentials import check_credential_name
from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.git_request import FETCH, GitRequest, git_request, granting
from claude_bottle.model.hosts import WILD, BadHost, canonical_host, canonical_pattern, canonical_port, reserved_reason
from claude_bottle.model.matching import Matcher, conflicts
from claude_bottle.model.ssh_remote import SshRemote
from claude_bottle.model.urlpath import BadTarget, PathPattern, compile_pattern, is_canonical, readings
from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

# Why something was refused: the closed list that journal, 403 bodies and tests share. "" is the reason of a
# grant.
HOST_NOT_GRANTED = "host_not_granted"
PORT_NOT_GRANTED = "port_not_granted"
METHOD_NOT_GRANTED = "method_not_granted"
PATH_NOT_GRANTED = "path_not_granted"
BAD_HOST = "bad_host"
BAD_REQUEST = "bad_request"
NAME_MISMATCH = "name_mismatch"
NO_SNI = "no_sni"
NOT_TLS = "not_tls"
NOT_HTTP = "not_http"
ADDRESS_REFUSED = "address_refused"
CREDENTIAL_FOREIGN = "credential_foreign"
CREDENTIAL_NEEDS_TLS = "credential_needs_tls"
CREDENTIAL_EXPIRED = "credential_expired"
UPGRADE_REFUSED = "upgrade_refused"
RESOLVE_FAILED = "resolve_failed"
UPSTREAM_FAILED = "upstream_failed"
UPSTREAM_TLS = "upstream_tls"
TOO_LARGE = "too_large"
GATE_HALTED, BUDGET_SPENT, MONEY_SPENT = "gate_halted", "budget_spent", "money_spent"
NAME_NOT_ADMITTED, BODY_TOO_LARGE = "name_not_admitted", "body_too_large"
GIT_NOT_GRANTED, GIT_REFUSED = "git_not_granted", "git_refused"
PUSH_REFUSED = "push_refused"
REASONS = frozenset({
    HOST_NOT_GRANTED, PORT_NOT_GRANTED, METHOD_NOT_GRANTED, PATH_NOT_GRANTED, BAD_HOST, BAD_REQUEST,
    NAME_MISMATCH, NO_SNI, NOT_TLS, NOT_HTTP, ADDRESS_REFUSED, CREDENTIAL_FOREIGN, CREDENTIAL_NEEDS_TLS,
    CREDENTIAL_EXPIRED, UPGRADE_REFUSED, RESOLVE_FAILED, UPSTREAM_FAILED, UPSTREAM_TLS, TOO_LARGE, GATE_HALTED,
    BUDGET_SPENT, MONEY_SPENT, NAME_NOT_ADMITTED, BODY_TOO_LARGE, GIT_NOT_GRANTED, GIT_REFUSED, PUSH_REFUSED,
})  # fmt: skip

INSPECT, TUNNEL = "inspect", "tunnel"
GATE_PORTS = {53: "the bottle's DNS", 3128: "the gate's explicit proxy"}

# Upper case only: methods are case-sensitive (RFC 9110 §9.1), but servers exist that take `get` for GET.
_METHOD = regex(r"[A-Z][A-Z-]{0,31}")
# CONNECT is the proxy's own; TRACE makes an upstream echo the credential the gate put in.
_NEVER = frozenset({"CONNECT", "TRACE", "TRACK"})


@dataclass(frozen=True)
class Rule:
    """One grant, for a host or (`*.domain`) a domain's direct subdomains. Empty `methods` and `paths` mean any.
    `tls` is "inspect" (each request is judged) or "tunnel" (opaque).

    The host is brought to its canonical form; whatever is unsound is a ValueError in words. GET grants HEAD
    too (RFC 9110 §9.3.2: the same without the body). `note` is the manifest's remark, `origin` where the
    rule came from (a preset). A rule with `git` grants git on its repositories and nothing else. `websocket`: a GET may
    become a WebSocket, whose messages nobody judges; `max_body`: bytes a request's body may have, None for any.
    """

    host: str
    port: int = 443
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    tls: str = INSPECT
    credential: str | None = None
    note: str = ""
    origin: str = ""
    git: GitGrant | None = None
    websocket: bool = False
    max_body: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.host, str):
            raise ValueError("host must be a host name")
        if not isinstance(self.port, int):
            raise ValueError("port must be a number")
        object.__setattr__(self, "host", canonical_pattern(self.host))
        object.__setattr__(self, "port", canonical_port(self.port))
        for name in ("methods", "paths"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))
        if not isinstance(self.note, str) or not isinstance(self.origin, str):
            raise ValueError("note and origin must be text")
        if self.port in GATE_PORTS:
            raise ValueError(f"port {self.port} is taken inside a bottle: it is {GATE_PORTS[self.port]}")
        for method in self.methods:
            _check_method(method)
        patterns = [_compiled(path) for path in self.paths]
        if self.tls not in (INSPECT, TUNNEL):
            raise ValueError('tls must be "inspect" or "tunnel"')
        if self.tls == TUNNEL and (self.methods or self.paths):
            raise ValueError("a tunnel is opaque: methods and paths cannot be judged in it; use tls: inspect")
        if not isinstance(self.websocket, bool) or not (self.max_body is None or type(self.max_body) is int):
            raise ValueError("websocket is true or false, max_body a number of bytes")
        if (self.websocket or self.max_body is not None) and (self.tls == TUNNEL or self.git is not None):
            raise ValueError("websocket and max_body are for requests: neither a tunnel nor git knows them")
        if self.max_body is not None and self.max_body < 0:
            raise ValueError("max_body is not negative")
        if self.wide and (self.credential is not None or self.git is not None):
            raise ValueError("a wildcard has neither a credential nor git: name the host that is trusted with it")
        if self.git is not None:
            object.__setattr__(self, "git", GitGrant.in_rule(self.git, self))
        if self.credential is not None:
            self._check_credential(patterns)

    def _check_credential(self, patterns: list[PathPattern]) -> None:
        if not isinstance(self.credential, str):
            raise ValueError("credential must be the name of one")
        check_credential_name(self.credential)
        if self.tls == TUNNEL:
            raise ValueError("a tunnel is opaque: no credential can be put into it; use tls: inspect")
        if self.port == 80:
            raise ValueError("a credential is never sent over plain http (port 80)")
        if any(pattern.everything for pattern in patterns):
            raise ValueError("/** with a credential is refused: name the paths the credential is for")

    @property
    def wide(self) -> bool:
        """Whether it is for every direct subdomain of a domain."""
        return self.host.startswith(WILD)

    @property
    def ssh(self) -> SshRemote | None:
        """How its host is reached, where that is not by https."""
        return self.git.ssh if self.git else None

    def to_dict(self) -> dict[str, object]:
        return {
            "host": self.host,
            "port": self.port,
            "methods": list(self.methods),
            "paths": list(self.paths),
            "tls": self.tls,
            "credential": self.credential,
            "note": self.note,
            "origin": self.origin,
            **({"git": self.git.to_dict()} if self.git else {}),
            **({"websocket": True} if self.websocket else {}),
            **({"max_body": self.max_body} if self.max_body is not None else {}),
        }

    @staticmethod
    def from_dict(data: dict[str, object]) -> Rule:
        """The inverse of `to_dict`. ValueError on wrong types and unknown keys."""
        try:
            return Rule(**data)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError("not a rule: wrong types, unknown or missing keys") from None


def _words(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{name} must be a list of words")
    return tuple(value)


def _check_method(method: str) -> None:
    if not _METHOD.fullmatch(method):
        raise ValueError("a method is written in upper-case letters, such as GET; leave methods out to grant any")
    if method in _NEVER:
        raise ValueError(f"{method} is never granted")


def _compiled(path: str) -> PathPattern:
    try:
        return compile_pattern(path)
    except BadTarget as bad:
        raise ValueError(f"not a path pattern: {bad.reason}") from None


@dataclass(frozen=True)
class Decision:
    """A verdict: `reason` is "" when allowed, else one of REASONS; `rule` is the granting rule, or None. `git`: what the
    request asks of git, where rules for git judged it. `max_body`: how many bytes its body may have, None for any."""

    allow: bool
    reason: str = ""
    rule: Rule | None = None
    git: GitRequest | None = None
    max_body: int | None = None


class Policy:
    """All rules of one bottle.

    `operator_named` are the (host, port) pairs the operator's own settings name (`upstreams`): only there do
    rules for reserved names (localhost, metadata services, `.internal`) count; elsewhere such a rule grants
    nothing, not even an answer from the DNS stub. ValueError if the rules are in conflict.
    """

    def __init__(self, rules: Iterable[Rule], *, operator_named: Collection[tuple[str, int]] = ()) -> None:
        self.rules = tuple(rules)
        if problems := conflicts(self.rules):
            raise ValueError("; ".join(problems))
        self._by_host: dict[str, dict[int, list[Matcher]]] = {}
        self._below: dict[str, dict[int, list[Matcher]]] = {}
        for rule in self.rules:
            if reserved_reason(rule.host) is None or (rule.host, rule.port) in operator_named:
                where = self._below if rule.wide else self._by_host
                where.setdefault(rule.host, {}).setdefault(rule.port, []).append(Matcher(rule))

    def names(self) -> tuple[str, ...]:
        """The granted host names that rules name, sorted."""
        return tuple(sorted(self._by_host))

    def by_wildcard(self, host: str | bytes) -> bool:
        """Whether this name is granted, and by no rule that names it."""
        try:
            name = canonical_host(host)
        except BadHost:
            return False
        return name not in self._by_host and bool(self._wild(name))

    def ports(self) -> tuple[int, ...]:
        """The granted ports, sorted: what needs a listener."""
        return tuple(sorted({port for ports in (*self._by_host.values(), *self._below.values()) for port in ports}))

    def connect(self, host: str | bytes, port: int) -> Decision:
        """May a connection be opened? For an inspected host each request is judged besides; `rule.tls` tells
        which."""
        found = self._find(host, port)
        if isinstance(found, Decision):
            return found
        return Decision(True, "", max(found, key=lambda one: one.rank("")).rule)

    def request(
        self, host: str | bytes, port: int, method: str, path: str, *, tls: bool, query: str | None = None,
        websocket: bool = False,
    ) -> Decision:
        """May this request be sent? `path` is `Target.path` (canonical, no query); `tls`: it came over TLS,
        and goes on so; `websocket`: it asks to become one.

        The rule of a grant says which credential goes in. Over plain http no rule with a credential grants
        anything. Where there are rules for git, `query` is looked at too, and they alone grant pushing.
        """
        found = self._find(host, port)
        if isinstance(found, Decision):
            return found
        if not _METHOD.fullmatch(method) or not is_canonical(path):
            return Decision(False, BAD_REQUEST)
        if found[0].rule.tls == TUNNEL or (port == 443 and not tls):
            return Decision(False, NOT_TLS)
        for_git = [one.rule for one in found if one.rule.git]
        asked = git_request(method, path, query) if for_git else None
        if asked is not None:
            rule, reason = granting(asked, for_git) if tls else (None, NOT_TLS)
            if rule is not None or asked.kind != FETCH:
                return Decision(rule is not None, reason, rule, asked)
        # A fetch that rules for git do not grant may still be granted by its path.
        found = [one for one in found if one.rule.git is None]
        if asked is not None and not found:
            return Decision(False, GIT_NOT_GRANTED, git=asked)
        found = [] if method in _NEVER else [one for one in found if one.grants_method(method)]
        if not found:
            return Decision(False, METHOD_NOT_GRANTED)
        ways = readings(path)
        found = [one for one in found if one.grants_path(ways)]
        if not found:
            return Decision(False, PATH_NOT_GRANTED)
        found = [one for one in found if tls or one.rule.credential is None]
        if not found:
            return Decision(False, CREDENTIAL_NEEDS_TLS)
        found = [one for one in found if one.rule.websocket] if websocket else found
        if not found:
            return Decision(False, UPGRADE_REFUSED)
        sizes = [one.rule.max_body for one in found]
        most = None if None in sizes else max(size for size in sizes if size is not None)
        return Decision(True, "", max(found, key=lambda one: one.rank(path)).rule, max_body=most)

    def _find(self, host: str | bytes, port: int) -> list[Matcher] | Decision:
        try:
            name = canonical_host(host)
        except BadHost:
            return Decision(False, BAD_HOST)
        ports, wild = self._by_host.get(name), self._wild(name)
        if ports is None and not wild:
            return Decision(False, HOST_NOT_GRANTED)
        return [*(ports or {}).get(port, ()), *wild.get(port, ())] or Decision(False, PORT_NOT_GRANTED)

    def _wild(self, name: str) -> dict[int, list[Matcher]]:
        """What wildcards grant on a name. A reserved name below a domain that is none (a cloud's metadata service) is not
        meant by any."""
        found = self._below.get(WILD + name.partition(".")[2]) if self._below else None
        return found if found and reserved_reason(name) is None else {}
