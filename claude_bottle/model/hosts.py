"""Host names, ports and authorities: the one canonicaliser that match, resolve, dial, certificate,
credential and log use.

Strict on purpose. A name is ASCII letters, digits and hyphens in labels, lower-cased, without the root dot;
everything two parsers could read in two ways (addresses in any spelling, percent signs, user information,
non-ASCII, underscores) is refused with a reason in words, never repaired. Pure text in, pure text out:
nothing is resolved here.
"""

from __future__ import annotations

from claude_bottle.patterns import regex

MAX_HOST = 253  # RFC 1035 §2.3.4: 255 octets on the wire, less the first length and the root label
MAX_LABEL = 63

# RFC 952 and 1123. An underscore is legal in the DNS but not in a host name; certificates may not carry it
# (CA/Browser Forum ballot SC12) and parsers disagree about it, so it is refused in every label.
_LABEL = regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# "Ends in a number" of the WHATWG URL standard: such a host is an IPv4 address to some parser (inet_aton
# takes `127.1`, `0x7f.1`, `017700000001`, `2130706433`). No top-level domain looks like this (RFC 3696 §2).
_NUMBER = regex(r"[0-9]+|0x[0-9a-f]*")
_PORT = regex(r"[1-9][0-9]{0,4}")
# Second levels that registries of countries give names below (`co.uk`, `com.au`, `ac.jp`).
_REGISTRIES = frozenset({"ac", "co", "com", "edu", "gob", "gov", "go", "ltd", "ne", "net", "nom", "or", "org", "plc", "sch"})

_FORBIDDEN = {
    "@": "user information (@) does not belong to a host name",
    "%": "a percent sign or zone identifier is not part of a host name",
    "[": "an IPv6 address is not a host name",
    "]": "an IPv6 address is not a host name",
    "*": "a wildcard is only *. in front of a name, in a rule of a manifest",
    "/": "a slash is not part of a host name; write the host alone, without scheme and path",
    "\\": "a backslash is not part of a host name",
    "?": "a question mark is not part of a host name",
    "#": "a number sign is not part of a host name",
    "_": "an underscore is not allowed in a host name",
}  # fmt: skip


class BadHost(ValueError):
    """Not a host name, port or authority that we accept. `reason` says why, in words, without repeating the
    input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def canonical_host(raw: str | bytes) -> str:
    """The one spelling of a host name: lower-case ASCII, no trailing dot. Idempotent. BadHost on anything
    else.

    One trailing dot, the DNS root, is dropped: the name is the same, and only the canonical form is ever
    matched, dialled, certified or sent on. Internationalised names are accepted in their ASCII form only.
    """
    text = _ascii(raw)
    if not text:
        raise BadHost("the host name is empty")
    for char in text:
        if char <= " " or char == "\x7f":
            raise BadHost("the host name contains a blank or control character")
        if char in _FORBIDDEN:
            raise BadHost(_FORBIDDEN[char])
    if ":" in text:
        raise BadHost("a colon is not part of a host name: neither an IPv6 address nor a port belongs here")
    name = text.lower().removesuffix(".")
    if len(name) > MAX_HOST:
        raise BadHost(f"the host name is longer than {MAX_HOST} characters")
    labels = name.split(".")
    for label in labels:
        _check_label(label)
    if _NUMBER.fullmatch(labels[-1]):
        raise BadHost("an IP address (in any spelling) is not a host name; grant the name instead")
    return name


WILD = "*."


def canonical_pattern(raw: str) -> str:
    """The one spelling of a rule's host: a host name, or `*.` and the domain whose direct subdomains are meant. BadHost
    for anything else, and for a domain that is nobody's own: a top-level one, or a registry's below a country's."""
    if not raw.startswith(WILD):
        return canonical_host(raw)
    domain = canonical_host(raw.removeprefix(WILD))
    first, dot, last = domain.partition(".")
    if not dot:
        raise BadHost("a wildcard for a whole top-level domain is refused; name a domain below it, or each host")
    if len(last) == 2 and first in _REGISTRIES:
        raise BadHost(f"a wildcard for all of {domain} is refused: everybody has names there")
    return WILD + domain


def covers_host(pattern: str, other: str) -> bool:
    """Whether the host of one rule stands for all that another's does. A star never crosses a dot."""
    return pattern == other or (pattern.startswith(WILD) and WILD + other.partition(".")[2] == pattern)


def _ascii(raw: str | bytes) -> str:
    try:
        return raw.decode("ascii") if isinstance(raw, bytes) else raw.encode("ascii").decode("ascii")
    except UnicodeError:
        raise BadHost("the host name is not ASCII; write an internationalised name in its xn-- form") from None


def _check_label(label: str) -> None:
    if not label:
        raise BadHost("the host name has an empty label (two dots in a row, or a dot at its beginning)")
    if len(label) > MAX_LABEL:
        raise BadHost(f"a label of the host name is longer than {MAX_LABEL} characters")
    if label.startswith("-") or label.endswith("-"):
        raise BadHost("a label of the host name begins or ends with a hyphen")
    if not _LABEL.fullmatch(label):
        raise BadHost("the host name contains a character other than letters, digits, hyphens and dots")
    if label.startswith("xn--"):
        _check_punycode(label)


def _check_punycode(label: str) -> None:
    """An A-label must be the only encoding of what it shows: letters, marks and digits in their one normal
    form (RFC 5891 §4.2, without the context rules: what needs them, such as joiners and middle dots, is
    refused)."""
    from unicodedata import category, normalize

    bad = BadHost("a label beginning with xn-- is not valid punycode of an internationalised name")
    try:
        shown = label[4:].encode("ascii").decode("punycode")
        again = shown.encode("punycode").decode("ascii")
        normal = normalize("NFKC", shown).lower()
    except (ValueError, IndexError, OverflowError):
        raise bad from None
    if again != label[4:] or normal != shown:
        raise bad
    kinds = [category(char) for char in shown if char != "-"]
    if any(kind[0] not in "LM" and kind != "Nd" for kind in kinds) or kinds[0][0] == "M" or shown[0] == "-":
        raise bad


def canonical_port(raw: str | bytes | int) -> int:
    """A TCP port, 1 to 65535, from its plain decimal spelling: no sign, blank, underscore or leading zero.
    BadHost else."""
    if isinstance(raw, bool):
        raise BadHost("the port is not a number")
    if isinstance(raw, int):
        port = raw
    else:
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        if not _PORT.fullmatch(text):
            raise BadHost("the port is not a plain decimal number from 1 to 65535")
        port = int(text)
    if not 1 <= port <= 65535:
        raise BadHost("the port is not between 1 and 65535")
    return port


def split_authority(raw: str | bytes, default_port: int | None) -> tuple[str, int]:
    """`host` or `host:port` as in a Host header, a CONNECT target or a URL: canonical host and port. BadHost
    else.

    `default_port` None means that the port must be written. An empty port (`host:`) is refused, as is user
    information.
    """
    text = _ascii(raw)
    if "@" in text:
        raise BadHost(_FORBIDDEN["@"])
    if "[" in text or text.count(":") > 1:
        raise BadHost(_FORBIDDEN["["])
    host, colon, port = text.partition(":")
    if colon:
        return canonical_host(host), canonical_port(port)
    if default_port is None:
        raise BadHost("the port is missing; write host:port")
    return canonical_host(host), canonical_port(default_port)


_LOCAL = "it names this machine or its network"
_METADATA = "it is a cloud metadata service"
_GATEWAY = "it is a container engine's alias of the host"
_RESERVED_HOSTS = {
    "instance-data.ec2.internal": _METADATA,
    "metadata.azure.internal": _METADATA,
    "metadata.google.internal": _METADATA,
    "metadata.goog": _METADATA,
    "metadata.oraclecloud.com": _METADATA,
    "metadata.packet.net": _METADATA,
    "metadata.platformequinix.com": _METADATA,
    "metadata.tencentyun.com": _METADATA,
    "gateway.docker.internal": _GATEWAY,
    "host.containers.internal": _GATEWAY,
    "host.docker.internal": _GATEWAY,
    "host.lima.internal": _GATEWAY,
    "host.minikube.internal": _GATEWAY,
    "host.rancher-desktop.internal": _GATEWAY,
    "kubernetes.docker.internal": _GATEWAY,
    "docker.for.mac.host.internal": _GATEWAY,
    "docker.for.mac.localhost": _GATEWAY,
    "docker.for.win.localhost": _GATEWAY,
    "bottle.internal": "it is the gate itself",
}  # fmt: skip
# Special-use and private-use domains: RFC 6761, 6762, 7686, 8375, 9476; ICANN SAC113 (.internal); RFC 6762
# appendix G for the names home and office networks invent. Neither `.test` nor `.example` leads anywhere by
# itself, so they are left out.
_RESERVED_SUFFIXES = {
    "localhost": _LOCAL, "localdomain": _LOCAL, "local": _LOCAL, "internal": "it is private by definition",
    "intranet": _LOCAL, "private": _LOCAL, "corp": _LOCAL, "home": _LOCAL, "lan": _LOCAL,
    "arpa": "it is infrastructure of the DNS", "onion": "it is not a DNS name", "alt": "it is not a DNS name",
    "invalid": "it never exists",
}  # fmt: skip


def reserved_reason(host: str) -> str | None:
    """Why `host` may be reached only when the operator's own settings name it exactly, in words; None for
    others."""
    name = canonical_pattern(host).removeprefix(WILD)
    if name in _RESERVED_HOSTS:
        return _RESERVED_HOSTS[name]
    last = name.rpartition(".")[2]
    if last in _RESERVED_SUFFIXES:
        return _RESERVED_SUFFIXES[last]
    return "it is a single label: a local name or a whole top-level domain" if "." not in name else None


# Names that others are made to look like, for warnings only.
FAMOUS = (
    "github.com", "githubusercontent.com", "gitlab.com", "pypi.org", "pythonhosted.org", "npmjs.org", "npmjs.com",
    "crates.io", "golang.org", "debian.org", "docker.com", "docker.io", "google.com", "googleapis.com", "anthropic.com",
    "amazonaws.com", "microsoft.com", "cloudflare.com", "rubygems.org", "example.com",
)  # fmt: skip
