"""One link's bytes, plain or TLS, without a socket: `ssl.SSLObject` over memory buffers.

`receive` takes wire bytes and gives plaintext, `write` takes plaintext, `take` gives the wire bytes to send. Plaintext
comes as a view of one buffer shared by all channels, so a gigabyte passes through without a gigabyte of allocations; it
is valid until the next `receive` of any channel. Verification of upstream certificates cannot be switched off here.
"""

from __future__ import annotations

import ssl

Bytes = bytes | bytearray | memoryview
READ_SIZE = 256 * 1024
# One read of ciphertext plus an unfinished record from before never hold more plaintext than this.
_PLAIN = memoryview(bytearray(READ_SIZE + 64 * 1024))


class TlsFailed(Exception):
    """The peer's TLS is broken or its certificate is not acceptable. The text is one phrase."""


class Channel:
    """The bytes of one link."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_plain_out", "ended", "established", "link")

    def __init__(self, link: int) -> None:
        self.link = link
        self.established = True
        """Plain, or TLS with its handshake done."""
        self.ended = False
        """The peer has said in TLS that nothing more will come."""
        self._object: ssl.SSLObject | None = None
        self._plain_out: list[Bytes] = []

    @property
    def secure(self) -> bool:
        return self._object is not None

    def secure_server(self, context: ssl.SSLContext) -> None:
        """From here on the peer is a TLS client of ours."""
        self._secure(context, server_side=True, name=None)

    def secure_client(self, context: ssl.SSLContext, name: str) -> None:
        """From here on the peer is a TLS server that must prove to be `name`; begins the handshake."""
        self._secure(context, server_side=False, name=name)
        self._handshake()

    def _secure(self, context: ssl.SSLContext, *, server_side: bool, name: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=name)
        self.established = False

    def receive(self, data: Bytes) -> Bytes:
        """Wire bytes in, plaintext out (possibly none). Raises TlsFailed; `take` then has the alert to send."""
        tls = self._object
        if tls is None:
            return data
        self._incoming.write(data)
        if not self.established and not self._handshake():
            return b""
        filled = 0
        try:
            while True:
                got = tls.read(len(_PLAIN) - filled, _PLAIN[filled:])
                if not got:
                    self.ended = True
                    break
                filled += got  # type: ignore[operator]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as broken:
            raise TlsFailed(_phrase(broken)) from None
        return _PLAIN[:filled]

    def _handshake(self) -> bool:
        tls = self._object
        if tls is None:
            return True
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ssl.CertificateError) as broken:
            raise TlsFailed(_phrase(broken)) from None
        self.established = True
        return True

    def write(self, data: Bytes) -> None:
        """Plaintext out. Only once `established`."""
        if self._object is None:
            self._plain_out.append(data)
        elif data:
            self._object.write(data)

    def finish(self) -> None:
        """Say in TLS that nothing more will come from us."""
        if self._object is None or not self.established:
            return
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # the peer's own farewell is not waited for

    def take(self) -> list[Bytes]:
        """Wire bytes to send now, in order."""
        if self._object is None:
            out, self._plain_out = self._plain_out, []
            return out
        return [self._outgoing.read()] if self._outgoing.pending else []


def _phrase(broken: Exception) -> str:
    if isinstance(broken, ssl.SSLCertVerificationError):
        return broken.verify_message or "the certificate is not acceptable"
    reason = getattr(broken, "reason", None)
    return str(reason or "TLS error").lower().replace("_", " ")


def client_context(extra: str = "", *, system: bool = True) -> ssl.SSLContext:
    """What upstream servers are verified with: the system's roots (if `system`) and the PEM text `extra`; the name is
    always checked.

    The system's hashed directory is preferred where there is one: OpenSSL then reads the one root a chain needs
    instead of keeping them all in memory.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if system:
        _load_system_roots(context)
    if extra:
        context.load_verify_locations(cadata=extra)
    return context


def _load_system_roots(context: ssl.SSLContext) -> None:
    import os

    paths = ssl.get_default_verify_paths()
    directory = paths.capath
    if directory and paths.openssl_cafile_env not in os.environ and _is_hashed(directory):
        context.load_verify_locations(capath=directory)
    else:
        context.set_default_verify_paths()


def _is_hashed(directory: str) -> bool:
    """Whether an OpenSSL certificate directory has its look-up links (`1a2b3c4d.0`)."""
    import os

    try:
        with os.scandir(directory) as entries:
            return any(len(entry.name) == 10 and entry.name.endswith(".0") for entry in entries)
    except OSError:
        return False
