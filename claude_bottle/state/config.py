"""The operator's own settings, `config.json` under the state root.

Read once per command and never written by us. Everything wrong with the file is reported at once, and a key
we do not know is an error: a misspelt setting must not be silently without effect.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.model.hosts import BadHost, canonical_host, canonical_port, split_authority
from claude_bottle.model.prices import NO_PRICES, Prices
from claude_bottle.patterns import regex
from claude_bottle.redact import printable
from claude_bottle.state import files
from claude_bottle.state.config_problems import ConfigProblems, step
from claude_bottle.state.paths import Paths, expand_home

_LIMIT = 1 << 20
_EXAMPLE = '{"upstreams": {"api.example.com:443": {"connect": "10.0.0.5:8443", "ca": "gateway-ca.pem"}}}'

_PROXY = regex(r"http://(?:([^@/\s]*:[^@/\s]*)@)?([^@/\s]+)/?")

# Where the gate of a container bottle runs: auto, on this host, or in a container beside it.
GATES = ("auto", "host", "container")


class Upstream(NamedTuple):
    """Where the gate connects for one host and port, instead of resolving it. `connect_host` is an IP address
    or a name the operator vouches for, private ones too; `ca_file` an absolute path, None for the usual
    trust."""

    connect_host: str
    connect_port: int
    ca_file: str | None


class Registry(NamedTuple):
    """Where packages of one kind are built from in place of the public registry. `url` is https or http, with a host and no
    more than a path; `suites` and `components` as in sources.list(5), for apt; `keyring` the absolute path of the keys
    that its index must be signed by, None for the system's own."""

    url: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    keyring: str | None = None

    def place(self) -> tuple[str, int]:
        """The canonical host and the port that it is reached at."""
        scheme, _, rest = self.url.partition("://")
        return split_authority(rest.partition("/")[0], 443 if scheme == "https" else 80)

    def to_dict(self) -> dict[str, object]:
        return {"url": self.url, "suites": list(self.suites), "components": list(self.components), "keyring": self.keyring}


class UpstreamProxy(NamedTuple):
    """A proxy that this host reaches the internet by; `authorization` as in Proxy-Authorization, a secret."""

    host: str
    port: int
    authorization: str = ""


class Settings(NamedTuple):
    """`upstreams` by canonical host and port; `ca` an absolute path to further roots for upstream TLS;
    `retention_days` after which `cleanup` may take preserved state, None for never; `default_backend` None
    for auto; `gate` where the gate of a container bottle runs: auto, host or container; `notify` the command that
    is told of every request, () for none; `credentials` what may be granted to bottles that ask, by name, in the
    manifest's language and not looked into here (`manifest.offered`); `registries` by kind of capability (apt, pip, …):
    where layers are built from instead of the public ones; `upstream_proxy` what every dial of a gate goes through, but
    those that `upstreams` leads elsewhere; `prices` what models cost the operator."""

    upstreams: dict[tuple[str, int], Upstream]
    ca: str | None = None
    retention_days: int | None = None
    default_backend: str | None = None
    gate: str = "auto"
    notify: tuple[str, ...] = ()
    credentials: Mapping[str, object] = MappingProxyType({})
    registries: Mapping[str, Registry] = MappingProxyType({})
    upstream_proxy: UpstreamProxy | None = None
    prices: Prices = NO_PRICES

    @classmethod
    def load(cls, paths: Paths) -> Settings:
        """From `config.json`; the defaults when there is none. BottleError listing every problem of the
        file."""
        try:
            data = _read(paths)
        except FileNotFoundError:
            return cls({})
        return _Reading(paths).settings(data)


class _Reading:
    """One reading of the file: the problems found so far."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.problems = ConfigProblems()

    def settings(self, data: dict[str, object]) -> Settings:
        readers: dict[str, Callable[[object], object]] = {
            "upstreams": self._upstreams,
            "upstream_proxy": self._proxy,
            "ca": lambda value: self._file("ca", value),
            "retention_days": self._days,
            "default_backend": self._backend,
            "gate": self._gate,
            "notify": self._notify,
            "credentials": self._credentials,
            "registries": self._registries,
            "prices": self._prices,
        }
        found: dict[str, object] = {"upstreams": {}}
        for key, value in data.items():
            if key in readers:
                found[key] = readers[key](value)
            else:
                self._unknown(key, "", readers)
        if self.problems:
            raise BottleError(
                f"{self.paths.config} has {len(self.problems)} problem{'s'[: len(self.problems) > 1]}",
                why="\n".join(self.problems.lines(self.paths.config.name, _text(self.paths))),
                do=f"edit the file; an example:\n{_EXAMPLE}",
            )
        return Settings(**found)  # type: ignore[arg-type]  # the readers return their field's type

    def _upstreams(self, value: object) -> dict[tuple[str, int], Upstream]:
        upstreams: dict[tuple[str, int], Upstream] = {}
        if not isinstance(value, dict):
            self.problems.wrong("upstreams", 'an object of "host:port" entries', value)
            return upstreams
        for name, entry in value.items():
            where = f"upstreams.{step(name)}"
            key, upstream = self._authority(where, name), self._upstream(where, entry)
            if key in upstreams:
                self.problems.add(where, "the same host and port stands there twice")
            if key is not None and upstream is not None:
                upstreams[key] = upstream
        return upstreams

    def _registries(self, value: object) -> dict[str, Registry]:
        from claude_bottle.state.registries import registries

        return registries(value, self.problems, self._file)

    def _prices(self, value: object) -> Prices:
        from claude_bottle.state.prices import prices

        return prices(value, self.problems)

    def _authority(self, where: str, text: str) -> tuple[str, int] | None:
        try:
            return split_authority(text, None)
        except BadHost as problem:
            self.problems.add(where, f"not a host:port: {problem.reason}")
            return None

    def _upstream(self, where: str, entry: object) -> Upstream | None:
        if not isinstance(entry, dict):
            self.problems.wrong(where, 'an object: {"connect": "addr:port", "ca": "file.pem"}', entry)
            return None
        for key in entry:
            if key not in ("connect", "ca"):
                self._unknown(key, f"{where}.", ("connect", "ca"))
        connect = entry.get("connect")
        if not isinstance(connect, str):
            self.problems.wrong(f"{where}.connect", 'a text "addr:port"', connect)
            return None
        ca = self._file(f"{where}.ca", entry["ca"]) if "ca" in entry else None
        try:
            return Upstream(*_address(connect), ca)
        except BadHost as problem:
            self.problems.add(f"{where}.connect", f"not an addr:port: {problem.reason}")
            return None

    def _file(self, where: str, value: object) -> str | None:
        """An existing file; a relative one is looked for beside config.json."""
        if not isinstance(value, str) or not value:
            self.problems.wrong(where, "the path of a PEM file", value)
            return None
        path = os.path.join(self.paths.root, expand_home(value, os.environ))
        if not os.path.isfile(path):
            self.problems.add(where, f"there is no file {printable(path)}")
        return path

    def _days(self, value: object) -> int | None:
        if type(value) is not int or not 1 <= value <= 36_500:
            self.problems.wrong("retention_days", "a whole number of days, 1 to 36500", value)
            return None
        return value

    def _backend(self, value: object) -> str | None:
        if not isinstance(value, str) or not value:
            self.problems.wrong("default_backend", 'the name of a backend, for example "auto"', value)
            return None
        return value

    def _gate(self, value: object) -> str:
        if value not in GATES:
            self.problems.wrong("gate", f"one of {', '.join(GATES)}", value)
            return "auto"
        return str(value)

    def _notify(self, value: object) -> tuple[str, ...]:
        words = value if isinstance(value, list) else []
        if not words or not all(isinstance(word, str) and word and "\0" not in word for word in words):
            self.problems.wrong("notify", 'a command as a list of words: ["notify-send", "a bottle asks"]', value)
            return ()
        return tuple(words)

    def _credentials(self, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            self.problems.wrong("credentials", "an object of credentials by name, as in a manifest", value)
            return {}
        return value

    def _proxy(self, value: object) -> UpstreamProxy | None:
        found = _PROXY.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self.problems.wrong("upstream_proxy", 'a text "http://host:port", or "http://user:password@host:port"', value)
            return None
        try:
            place = _address(found[2])
        except BadHost as problem:
            self.problems.add("upstream_proxy", f"not a host:port: {problem.reason}")
            return None
        return UpstreamProxy(*place, _basic(found[1]) if found[1] else "")

    def _unknown(self, key: str, prefix: str, known: Iterable[str]) -> None:
        self.problems.add(f"{prefix}{step(key)}", f"unknown key; known are {', '.join(known)}")


def _basic(user: str) -> str:
    """User and password of a URL as Basic (RFC 7617)."""
    from base64 import b64encode
    from urllib.parse import unquote

    return f"Basic {b64encode(unquote(user).encode()).decode()}"


def _address(text: str) -> tuple[str, int]:
    """`addr:port` with an IPv4 address, a bracketed IPv6 address or a host name. BadHost otherwise."""
    import socket

    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    family, bare = (socket.AF_INET6, host[1:-1]) if bracketed else (socket.AF_INET, host)
    try:
        # inet_pton(3) takes one spelling only; short, octal and hexadecimal forms canonical_host refuses.
        return socket.inet_ntop(family, socket.inet_pton(family, bare)), canonical_port(port)
    except OSError:
        return canonical_host(host), canonical_port(port)


def _read(paths: Paths) -> dict[str, object]:
    paths.check_root()
    return files.read_json(paths.config, _LIMIT)


def _text(paths: Paths) -> str:
    """Once more, to say where its problems stand; "" when it is gone by now."""
    with suppress(OSError, BottleError):
        return files.read_private(paths.config, _LIMIT).decode("utf-8", "replace")
    return ""
