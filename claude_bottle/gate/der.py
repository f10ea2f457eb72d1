"""The few DER shapes a certificate is made of (X.690, RFC 5280), as functions from values to bytes.

Importing `cryptography.x509` costs 45 ms and 7 MiB on the way to every prompt, its signatures alone a quarter of that. So
certificates and keys are laid out here and made and signed by `cryptography` in `ca`; tests parse and verify the result with
`cryptography.x509` and OpenSSL's strict mode. Pure functions: no I/O, nothing hostile is ever parsed here.
"""

from __future__ import annotations

import time

BOOLEAN_TRUE = b"\x01\x01\xff"


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element: tag, definite length, contents."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def integer(value: int) -> bytes:
    """A non-negative INTEGER (a leading zero keeps the top bit clear)."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    out = bytearray([first * 40 + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        out += bytes(reversed(groups))
    return tlv(0x06, bytes(out))


def octets(value: bytes) -> bytes:
    return tlv(0x04, value)


def bits(value: bytes, unused: int = 0) -> bytes:
    return tlv(0x03, bytes([unused]), value)


def moment(seconds: float) -> bytes:
    """A Time from seconds since the epoch: UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5)."""
    parts = time.gmtime(seconds)
    if parts.tm_year < 2050:
        return tlv(0x17, time.strftime("%y%m%d%H%M%SZ", parts).encode())
    return tlv(0x18, time.strftime("%Y%m%d%H%M%SZ", parts).encode())


def common_name(text: str) -> bytes:
    """A Name with one commonName, as UTF8String."""
    return sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0C, text.encode()))))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(oid(dotted), BOOLEAN_TRUE if critical else b"", octets(value))


def explicit(number: int, value: bytes) -> bytes:
    """A constructed context-specific element, [number] EXPLICIT."""
    return tlv(0xA0 | number, value)
