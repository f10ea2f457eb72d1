"""The host canonicaliser, beside every other parser that could read a host differently."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_bottle.model.hosts import (
    BadHost,
    canonical_host,
    canonical_port,
    reserved_reason,
    split_authority,
)


def accepted(raw: str | bytes) -> str | None:
    try:
        return canonical_host(raw)
    except BadHost as bad:
        assert bad.reason and bad.reason.isprintable()
        return None


# Strings near the border between host and no host: far more telling than random text.
PIECES = st.sampled_from(
    ["example", "com", "EXAMPLE", "a", "1", "127", "0x7f", "0X7F", "017", "2130706433", "xn--bcher-kva", "xn--a", "xn--",
     "-", "_", ".", "..", "*", "@", ":", "443", "/", "\\", "%", "%2e", "%00", "\0", "\n", "\r", "\t", " ", "[", "]", "::1",
     "fe80::1%eth0", "?", "#", "ß", "é", "\u3002", "\uff0e", "\uff61", "\uff41", "\u200b", "\u202e", "\u212a", "\u017f",
     "İ", "\ud800", "localhost", "0x", "0x7f000001", "1e1", "+1", "x" * 63, "x" * 64]
)  # fmt: skip
NEAR_HOSTS = st.lists(PIECES, max_size=8).map("".join) | st.lists(PIECES, max_size=6).map(".".join)
LDH = st.from_regex(r"\A[a-zA-Z0-9-]{1,20}(\.[a-zA-Z0-9-]{1,20}){0,4}\.?\Z")


@given(st.binary() | NEAR_HOSTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_a_host_or_bad_host(raw: bytes) -> None:
    accepted(raw)


@given(st.text() | NEAR_HOSTS | LDH)
def test_canonicalising_twice_changes_nothing(raw: str) -> None:
    host = accepted(raw)
    if host is not None:
        assert canonical_host(host) == host == canonical_host(host.encode()) == canonical_host(host.upper() + ".")
        assert len(host) <= 253 and host.isascii() and host == host.lower() and not host.endswith(".")


@given(st.text() | NEAR_HOSTS | LDH | st.ip_addresses().map(str))
@example("127.1")
@example("0x7f.1")
@example("2130706433")
@example("0177.0.0.1")
@example("017700000001")
@example("1.2.3.0x")
def test_what_libc_or_ipaddress_reads_as_an_address_is_no_host(raw: str) -> None:
    host = accepted(raw)
    if host is None:
        return
    for spelling in (host, raw):
        with pytest.raises(OSError, match=r".*"):
            socket.inet_aton(spelling)
        with pytest.raises(ValueError, match=r".*"):
            ipaddress.ip_address(spelling)


@given(NEAR_HOSTS | LDH)
def test_urlsplit_finds_the_very_same_host(raw: str) -> None:
    host = accepted(raw)
    if host is not None:
        parts = urlsplit(f"https://{raw}:8443/path")
        assert parts.hostname is not None and parts.hostname.removesuffix(".") == host
        assert parts.port == 8443 and parts.username is None


@given(NEAR_HOSTS | LDH)
def test_idna_maps_no_accepted_host_to_another_one(raw: str) -> None:
    host = accepted(raw)
    if host is None:
        return
    for encode in (
        lambda: idna.encode(host).decode(),
        lambda: idna.encode(host, uts46=True, std3_rules=True).decode(),
        lambda: host.encode("idna").decode(),
    ):
        try:
            other = encode()
        except UnicodeError:  # idna.IDNAError is one
            continue
        assert other == host


@given(st.lists(st.text(st.characters(categories=["Ll", "Lo", "Mn", "Nd"]), min_size=1, max_size=8), min_size=2, max_size=3))
def test_the_ascii_form_of_an_internationalised_name_is_accepted_and_its_unicode_form_refused(labels: list[str]) -> None:
    name = ".".join(labels)
    try:
        ascii_form = idna.encode(name).decode()
    except idna.IDNAError:
        return
    if ascii_form.rpartition(".")[2].isdigit() or any(joiner in name for joiner in "\u00b7\u0375\u05f3\u05f4\u30fb"):
        return
    host = accepted(ascii_form)
    if host is not None:  # our table of characters is a little stricter than idna's
        assert host == ascii_form
    if not name.isascii():
        assert accepted(name) is None


@pytest.mark.parametrize(
    ("raw", "host"),
    [("Example.COM", "example.com"), ("example.com.", "example.com"), (b"API.github.com", "api.github.com"),
     ("1.example.com", "1.example.com"), ("r3---sn-4g5e6nz7.googlevideo.com", "r3---sn-4g5e6nz7.googlevideo.com"),
     ("xn--bcher-kva.example", "xn--bcher-kva.example"), ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
     ("xn--strae-oqa.de", "xn--strae-oqa.de"), ("xn--80ak6aa92e.com", "xn--80ak6aa92e.com"), ("localhost", "localhost")],
)  # fmt: skip
def test_each_host_has_one_spelling(raw: str | bytes, host: str) -> None:
    assert canonical_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    ["127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "0X7F.0.0.1", "2130706433", "017700000001", "0177.1", "1.2.3", "1",
     "0", "0x", "999.999.999.999", "example.0x7f", "example.123", "127.0.0.1.", "169.254.169.254"],
)  # fmt: skip
def test_case_32_no_spelling_of_an_ipv4_address_is_a_host(raw: str) -> None:
    with pytest.raises(BadHost, match="IP address"):
        canonical_host(raw)


@pytest.mark.parametrize(
    "raw", ["::1", "[::1]", "fe80::1%eth0", "[fe80::1%25eth0]", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "[", "1::"]
)
def test_case_26_no_spelling_of_an_ipv6_address_is_a_host(raw: str) -> None:
    assert accepted(raw) is None
    with pytest.raises(BadHost):
        split_authority(raw, 443)
    with pytest.raises(BadHost):
        split_authority(raw + ":443", None)


@pytest.mark.parametrize(
    ("raw", "word"),
    [("evil.test\0.example.com", "control"), ("example.com\n", "control"), ("\texample.com", "control"),
     ("exa mple.com", "blank"), (" example.com", "blank"), ("example.com%00", "percent"), ("example%2ecom", "percent"),
     ("%65xample.com", "percent"), ("example.com\x7f", "control"), (b"example.com\x00", "control"),
     (b"\xffexample.com", "ASCII"), ("example\u3002com", "ASCII"), ("example\uff0ecom", "ASCII"),
     ("\u212aexample.com", "ASCII"), ("bücher.example", "xn--")],
)  # fmt: skip
def test_case_34_controls_blanks_escapes_and_foreign_dots_are_refused(raw: str | bytes, word: str) -> None:
    with pytest.raises(BadHost, match=word):
        canonical_host(raw)


@pytest.mark.parametrize(
    "raw",
    ["example.com@evil.test", "user:pw@example.com", "example.com#.evil.test", "example.com/", "https://example.com",
     "example.com\\.evil.test", "example.com?x", "example.com..", ".example.com", "example..com", ".", "", "-a.example.com",
     "a-.example.com", "foo_bar.example.com", "_dmarc.example.com", "*", "*.com", "*.example.com", "a*.example.com",
     "x" * 64 + ".com", ".".join(["x" * 63] * 4), "example.com:443", "10.0.0.0/8", "xn--", "xn--a", "xn--example-.com",
     "xn--ls8h.example", "xn--1ug.example", "null,", '"example.com"', "example.com,evil.test"],
)  # fmt: skip
def test_case_35_lookalike_and_smuggled_names_are_refused(raw: str) -> None:
    assert accepted(raw) is None


def test_punycode_of_a_fullwidth_or_upper_case_letter_is_refused() -> None:
    for shown in ("ａbc", "BÜCHER", "a\u3002b", "e\u0301", "\u0301a", "a\u200db", "ﬁ", "a\u202eb"):
        label = "xn--" + shown.encode("punycode").decode()
        assert accepted(f"{label}.example") is None, shown


@pytest.mark.parametrize(("raw", "port"), [("1", 1), (b"443", 443), ("65535", 65535), (8080, 8080)])
def test_a_plain_port_is_accepted(raw: str | bytes | int, port: int) -> None:
    assert canonical_port(raw) == port


@pytest.mark.parametrize(
    "raw",
    ["", "0", "00", "0443", "65536", "99999999", "-1", "+443", " 443", "443 ", "4_4_3", "443\n", "0x1bb", "٤٤٣", "４４３",
     b"\xff", "https", 0, -1, 65536, True],
)  # fmt: skip
def test_a_port_in_any_other_spelling_is_refused(raw: str | bytes | int) -> None:
    with pytest.raises(BadHost):
        canonical_port(raw)


@given(st.binary() | NEAR_HOSTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.none() | st.just(443))
def test_any_authority_gives_host_and_port_or_bad_host(raw: bytes, default: int | None) -> None:
    try:
        host, port = split_authority(raw, default)
    except BadHost:
        return
    assert canonical_host(host) == host and canonical_port(port) == port
    assert split_authority(f"{host}:{port}", None) == (host, port)


def test_an_authority_gives_canonical_host_and_port() -> None:
    assert split_authority(b"Example.com", 443) == ("example.com", 443)
    assert split_authority("example.com.:8443", None) == ("example.com", 8443)


@pytest.mark.parametrize("raw", ["example.com", "example.com:", ":443", "", "a@b:443", "[::1]:443", "a:b:443", "a:443:443"])
def test_an_authority_without_its_port_or_with_more_is_refused(raw: str) -> None:
    with pytest.raises(BadHost):
        split_authority(raw, None)


@pytest.mark.parametrize("raw", ["user@example.com:443", "user:pw@example.com:443", "user:pw@example.com"])
def test_case_35_user_information_is_called_by_its_name(raw: str) -> None:
    with pytest.raises(BadHost, match="user information"):
        split_authority(raw, 443)


@pytest.mark.parametrize(
    "host",
    ["localhost", "foo.localhost", "localhost.localdomain", "LOCALHOST.", "metadata.google.internal", "metadata",
     "instance-data", "instance-data.ec2.internal", "host.docker.internal", "gateway.docker.internal",
     "host.containers.internal", "bottle.internal", "anything.internal", "printer.local", "nas.lan", "router.home.arpa",
     "1.0.0.127.in-addr.arpa", "com", "dev", "kubernetes", "metadata.tencentyun.com", "x.onion", "ip6-localhost"],
)  # fmt: skip
def test_case_33_local_metadata_and_gateway_names_are_reserved(host: str) -> None:
    assert reserved_reason(host)


@pytest.mark.parametrize(
    "host", ["api.anthropic.com", "db.internal.example", "model.bottle.test", "localhost.example.com", "my-local.dev"]
)
def test_ordinary_names_are_not_reserved(host: str) -> None:
    assert reserved_reason(host) is None
