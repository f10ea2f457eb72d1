"""The public certificate authorities a bottle trusts beside its own: the host's, and the operator's `ca` setting."""

from __future__ import annotations

import os

from claude_bottle.errors import BottleError

# Where distributions keep the bundle (Debian, Fedora, SUSE, Alpine), as Go's crypto/x509 looks for it.
_PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def bundle(extra: str | None) -> bytes:
    """PEM text. Empty where the host has no bundle; BottleError when the `ca` setting cannot be read."""
    found = b""
    for place in _PLACES:
        if os.path.isfile(place):
            with open(place, "rb") as file:
                found = file.read()
            break
    if extra:
        try:
            with open(extra, "rb") as file:
                found += b"\n" + file.read()
        except OSError as problem:
            raise BottleError("cannot read the certificates of the setting 'ca'", why=str(problem),
                              do="correct config.json") from problem  # fmt: skip
    return found
