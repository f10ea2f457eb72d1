"""SHA-256 of what is small, without OpenSSL, whose loading takes 2 ms of every start.

Python's own, as the standard library's `random` takes it; `hashlib`'s where that is not there under a name we know. What
is large is for `hashlib`, which is several times as fast.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # since 3.12
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
