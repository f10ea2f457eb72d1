"""The certificate authority of one bottle: made at start, gone with the gate, its key never outside this memory.

Only its certificate leaves (to the bottle's trust bundle). Leaves are issued per granted name when first asked for, all
on one leaf key, kept ready as server contexts and renewed long before they end. Every certificate carries what Python
3.13's strict verification asks for: subject and authority key identifiers, key usage, a subject alternative name.
"""

from __future__ import annotations

import base64
import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from claude_bottle.gate import der

if TYPE_CHECKING:
    import ssl

_DAY = 86400.0
_BACKDATE = 3600.0  # clocks step back a little after a resume from sleep
CA_LIFE = 365 * _DAY  # a bottle that runs longer is restarted; the key dies with the gate anyway
LEAF_LIFE = 3 * _DAY
_RENEW_BEFORE = _DAY

_P256 = der.oid("1.2.840.10045.3.1.7")
_ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
_SERVER_AUTH = der.sequence(der.oid("1.3.6.1.5.5.7.3.1"))


class Authority:
    """A fresh EC P-256 authority. `pem` is its certificate."""

    def __init__(self, now: float | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._spki = _spki(self._key)
        # The random part keeps two bottles' authorities apart in any trust store that indexes by subject.
        self._name = der.common_name(f"claude-bottle gate {os.urandom(6).hex()}")
        start = time.time() if now is None else now
        extensions = der.sequence(
            der.extension("2.5.29.19", der.sequence(der.BOOLEAN_TRUE, der.integer(0)), critical=True),
            der.extension("2.5.29.15", der.bits(b"\x06", 1), critical=True),  # keyCertSign, cRLSign
            der.extension("2.5.29.14", der.octets(_key_id(self._spki))),
        )
        self.pem = _pem("CERTIFICATE", self._sign(self._name, self._spki, start, start + CA_LIFE, extensions))
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: dict[str, tuple[float, ssl.SSLContext]] = {}

    def context(self, name: str) -> ssl.SSLContext:
        """The TLS server context for a canonical DNS name; HTTP/1.1 only by ALPN, TLS 1.2 or newer."""
        now = time.time()
        known = self._contexts.get(name)
        if known is not None and now < known[0] - _RENEW_BEFORE and now > known[0] - LEAF_LIFE:
            return known[1]
        context = _server_context(self.leaf(name, now), self._leaf_key_pem())
        self._contexts[name] = (now + LEAF_LIFE, context)
        return context

    def leaf(self, name: str, now: float) -> str:
        """A PEM certificate for `name`, valid from a little before `now` (seconds since the epoch) for LEAF_LIFE."""
        spki = _spki(self._leaf_key)
        extensions = der.sequence(
            der.extension("2.5.29.19", der.sequence(), critical=True),
            der.extension("2.5.29.15", der.bits(b"\x80", 7), critical=True),  # digitalSignature
            der.extension("2.5.29.37", _SERVER_AUTH),
            der.extension("2.5.29.17", der.sequence(der.tlv(0x82, name.encode("ascii")))),
            der.extension("2.5.29.14", der.octets(_key_id(spki))),
            der.extension("2.5.29.35", der.sequence(der.tlv(0x80, _key_id(self._spki)))),
        )
        # A common name holds 64 characters at most (RFC 5280 ub-common-name); nobody matches on it any more.
        subject = der.common_name(name[:64])
        return _pem("CERTIFICATE", self._sign(subject, spki, now, now + LEAF_LIFE, extensions))

    def _sign(self, subject: bytes, spki: bytes, start: float, end: float, extensions: bytes) -> bytes:
        serial = int.from_bytes(os.urandom(16), "big") >> 1 | 1
        body = der.sequence(
            der.explicit(0, der.integer(2)),  # version 3
            der.integer(serial),
            _ECDSA_SHA256,
            self._name,
            der.sequence(der.moment(start - _BACKDATE), der.moment(end)),
            subject,
            spki,
            der.explicit(3, extensions),
        )
        signature = self._key.sign(body, ec.ECDSA(hashes.SHA256()))
        return der.sequence(body, _ECDSA_SHA256, der.bits(signature))

    def _leaf_key_pem(self) -> str:
        """The leaf key as OpenSSL reads it (SEC 1 §C.4)."""
        secret = self._leaf_key.private_numbers().private_value.to_bytes(32, "big")
        key = der.sequence(
            der.integer(1), der.octets(secret), der.explicit(0, _P256), der.explicit(1, der.bits(_point(self._leaf_key)))
        )
        return _pem("EC PRIVATE KEY", key)


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # what was judged once stays what it was
    context.set_alpn_protocols(["http/1.1"])
    # `ssl` loads keys from files only. A memfd is one that no directory ever shows and that ends with its descriptor.
    holder = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        with open(holder, "wb", closefd=False) as file:
            file.write((key + certificate).encode())
        context.load_cert_chain(f"/proc/self/fd/{holder}")
    finally:
        os.close(holder)
    return context


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as certificates carry it (RFC 5480 §2)."""
    return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), _P256), der.bits(_point(key)))


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def _key_id(spki: bytes) -> bytes:
    """The leftmost 160 bits of SHA-256 over the key (RFC 7093 §2, method 1 applied to the whole structure)."""
    return sha256(spki).digest()[:20]


def _pem(label: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
