"""Credentials as the rest of the product speaks of them: where a value comes from, what stands for it, who
may get it.

A `CredentialSpec` holds no secret and may go anywhere; a `Secret` holds one and shows it to nobody who does
not ask by name; a `BoundCredential` ties a secret to the placeholder a bottle holds in its place and to the
only hosts that may receive it. No value is read here: no environment, no file, no command.
"""

from __future__ import annotations

import os
from typing import NoReturn

from claude_bottle.model.hosts import canonical_host, canonical_port
from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

SOURCES = ("env", "file", "command", "keyring")
SECRET_FIELD = "{secret}"
MAX_SECRET = 16 * 1024

_NAME = regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_VARIABLE = regex(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TOKEN = regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110 §5.6.2
_PLACEHOLDER = regex(r"[A-Za-z0-9_-]{16,200}")
_PREFIX = regex(r"[A-Za-z0-9_-]{0,40}")
_VALUE = regex(r"[!-~](?:[ -~]*[!-~])?")  # what a header field may carry without a second reading

# These decide where a request ends, where it goes or what a connection becomes: the gate writes them itself.
# Words of a command line, too, so neither begins with a dash.
_KEYRING = regex(r"[^\s/-][^\x00-\x1f\x7f]*/[^\s/-][^\x00-\x1f\x7f/]*")
_FRAMING = frozenset({
    "connection", "content-length", "content-type", "expect", "host", "keep-alive", "proxy-authenticate",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-forwarded-for",
    "x-forwarded-host", "x-http-method", "x-http-method-override", "x-method-override",
})  # fmt: skip
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 43  # 43 × log2(62) = 256 bits


def check_credential_name(name: str) -> str:
    """The name itself if it is well formed; else ValueError."""
    if _NAME.fullmatch(name):
        return name
    raise ValueError("a credential's name has 1 to 64 letters, digits, inner dots, dashes and underscores")


class Secret:
    """A secret value. `reveal()` is the only way to it: not repr, str, format, comparison with text, pickle
    or copy."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a secret is text")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a way to guess it

    def __repr__(self) -> str:
        return "[secret]"

    def __format__(self, spec: str) -> str:
        return format("[secret]", spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied")


@dataclass(frozen=True)
class CredentialSpec:
    """One credential of a manifest. Holds no secret.

    `source_detail`: the variable's name (`env`), the file's path, or path, `#` and a JSON pointer (`file`),
    the argv (`command`), service, `/` and user (`keyring`). `env` is the variable that holds the placeholder in the
    bottle; `header` the field the gate fills in, with `format` around the value. `ttl` is how many seconds a
    command's output stays good (0: for the session).
    """

    name: str
    source: str
    source_detail: str | tuple[str, ...]
    env: str
    header: str
    format: str = SECRET_FIELD
    ttl: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.source_detail, list):
            object.__setattr__(self, "source_detail", tuple(self.source_detail))
        check_credential_name(self.name)
        self._check_source()
        if not _VARIABLE.fullmatch(self.env):
            raise ValueError("env must be the name of an environment variable")
        if not _TOKEN.fullmatch(self.header) or self.header.lower() in _FRAMING:
            raise ValueError("header must be the name of a header that carries credentials, such as Authorization")
        around = self.format.replace(SECRET_FIELD, "", 1)
        if self.format.count(SECRET_FIELD) != 1 or "{" in around or "}" in around:
            raise ValueError("format must contain {secret} once and no other braces")
        if not (self.format.isascii() and self.format.isprintable()) or self.format != self.format.strip():
            raise ValueError("format must be printable ASCII without blanks at its ends")

    def _check_source(self) -> None:
        detail = self.source_detail
        if self.source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}")
        if self.source == "command":
            words = () if isinstance(detail, str) else detail
            if not words or not words[0] or not all(isinstance(word, str) for word in words):
                raise ValueError("a command is a list of words, the program first")
        elif not isinstance(detail, str) or not detail:
            raise ValueError(f"a credential from {self.source} names one")
        elif self.source == "env" and not _VARIABLE.fullmatch(detail):
            raise ValueError("a credential from env names an environment variable")
        elif self.source == "keyring" and not _KEYRING.fullmatch(detail):
            raise ValueError("a credential from a keyring is written service/user, such as github.com/me")
        if "\0" in "".join(detail):
            raise ValueError("a credential's source holds a NUL")
        if self.ttl < 0 or (self.ttl and self.source != "command"):
            raise ValueError("a ttl is a number of seconds and goes with a command")

    def fill(self, value: str) -> str:
        """The header's value around a secret or a placeholder. ValueError (without the value) if no header
        may carry it."""
        if len(value) > MAX_SECRET or not _VALUE.fullmatch(value):
            raise ValueError(
                f"the value of credential {self.name} cannot be sent in a header: it is empty, too long, has "
                "blanks at its ends, or holds control or non-ASCII characters"
            )
        return self.format.replace(SECRET_FIELD, value)

    def to_dict(self) -> dict[str, object]:
        detail = self.source_detail
        return {
            "name": self.name,
            "source": self.source,
            "source_detail": detail if isinstance(detail, str) else list(detail),
            "env": self.env,
            "header": self.header,
            "format": self.format,
            "ttl": self.ttl,
        }

    @staticmethod
    def from_dict(data: dict[str, object]) -> CredentialSpec:
        """The inverse of `to_dict`. ValueError on wrong types, unknown or missing keys."""
        try:
            return CredentialSpec(**data)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError("not a credential: wrong types, unknown or missing keys") from None


def new_placeholder(spec: CredentialSpec, harness_prefix: str = "") -> str:
    """What a bottle holds in place of the secret: the prefix the program expects (`sk-ant-api03-`), the word
    `bottle` so that a person recognises it, and 256 random bits. Letters, digits, `-` and `_` only, so it
    survives any quoting."""
    if not _PREFIX.fullmatch(harness_prefix):
        raise ValueError(f"the placeholder prefix for credential {spec.name} may hold letters, digits, - and _ only")
    return f"{harness_prefix}bottle{_random_base62(_RANDOM_LENGTH)}"


def _random_base62(length: int) -> str:
    text = ""
    while len(text) < length:
        # Bytes from 248 up would make some letters likelier than others.
        text += "".join(_BASE62[byte % 62] for byte in os.urandom(length) if byte < 248)
    return text[:length]


@dataclass(frozen=True)
class BoundCredential:
    """A credential of one running bottle: its placeholder, its value, and the only (host, port) pairs that
    may get it."""

    spec: CredentialSpec
    placeholder: str
    secret: Secret
    hosts: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        pairs = tuple((canonical_host(host), canonical_port(port)) for host, port in self.hosts)
        object.__setattr__(self, "hosts", pairs)
        if not _PLACEHOLDER.fullmatch(self.placeholder):
            raise ValueError(f"the placeholder of credential {self.spec.name} is not one")
        if self.placeholder == self.secret.reveal():
            raise ValueError(f"the placeholder of credential {self.spec.name} is its secret")
        self.spec.fill(self.secret.reveal())

    def binds(self, host: str, port: int) -> bool:
        """May this (canonical) host and port receive the secret?"""
        return (host, port) in self.hosts

    def header_value(self) -> str:
        """The whole header value to send to a bound host. Holds the secret."""
        return self.spec.fill(self.secret.reveal())
