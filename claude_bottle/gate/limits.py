"""Every number that bounds what a bottle can make its gate do. Seconds and bytes.

Bodies have no limit: they are passed on in constant memory. Heads do (`head.MAX_HEAD`), and so do connections, waiting
time, queued bytes and journal lines.
"""

from __future__ import annotations

TLS_PORT, HTTP_PORT = 443, 80

HEAD_TIMEOUT = 30.0  # for a hello, a handshake, a head: from the first byte expected to the last
IDLE_BETWEEN = 120.0  # between two requests on a kept connection
# No byte either way within an exchange. A silent event stream may last; TCP keepalive watches the peers meanwhile.
IDLE_WITHIN = 3600.0
TUNNEL_IDLE = 3600.0
DIAL_TIMEOUT = 10.0  # per address
HANDSHAKE_TIMEOUT = 20.0  # for a server's TLS
RESOLVE_TIMEOUT = 15.0
# How long an idle upstream link is trusted to be alive; servers commonly close theirs after 5 to 75 s. By a clock that
# counts sleep, or a laptop would wake up to dead links.
REUSE_WITHIN = 20.0
POOL_WITHIN = 4.0
POOL_SIZE = 16
FLUSH = 120.0  # for a peer to take what waits for it once we want to close
LINGER = 2.0  # for its farewell after that

CONNECTIONS = 512
OWN_BODY = 64 * 1024  # of a request to the gate itself
WAITS = 64  # who waits for answers to requests, at once
ASKS, ASK_EVERY = 20, 3.0  # requests at once, and seconds until there may be one more
STREAMS, MCP_SESSIONS = 8, 32
# So often something is said on a stream that waits: clients and proxies take silence for an end.
BEAT = 15.0
LONGEST_WAIT = 7 * 86400.0
SPENT_EVERY = 5.0  # how often the keeper is told what a budget has come to, which it then writes down
PIPELINE = 64 * 1024
HIGH_WATER = 256 * 1024  # queued per link before the other side is held back; above twice that its peer is not read either
LOW_WATER = 64 * 1024
CONTROL_HIGH_WATER = 1 << 20
DESCRIPTORS = 8192
DNS_STREAM = 4096  # bytes of one name server connection's unfinished message
DNS_DENIALS, DNS_DENIALS_WITHIN = 256, 60.0  # a denied name is recorded once per period, so many per period in all
# Refused requests that are recorded one by one, seconds until there may be one more, and until the rest is told.
REFUSALS, REFUSALS_EVERY, REFUSALS_TOLD = 2000, 0.5, 5.0
