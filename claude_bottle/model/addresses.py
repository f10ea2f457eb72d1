"""Which IP addresses the gate may dial: the globally routable ones, judged by our own table.

The standard library's `is_global` follows the registry of its release and lets through forms that carry a
private address (NAT64 of 169.254.169.254, for one), so it is not asked. IPv4 is everything but the special
ranges; IPv6 is only 2000::/3 less the special ranges, and whatever embeds an IPv4 address is judged by that
address or refused. Pure. Source of the ranges: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC
6890) and the RFCs named beside them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_V4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT, not global"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local (cloud metadata)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking (and this product's synthetic range)"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
)

# Inside 2000::/3. 2001::/23 holds Teredo, ORCHID, benchmarking and other protocol ranges; the few global
# ones in it are of no use to an agent.
_V6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_V6_NAMES = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("fc00::/7", "private (unique local)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: what DNS64 answers on an IPv6-only network
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056, 7526
_TEREDO = IPv6Network("2001::/32")  # RFC 4380
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 §6.1, upper half of the interface identifier


def is_global(ip: str | IPv4Address | IPv6Address) -> bool:
    """May this address be dialled? False for whatever is not a plain IP address."""
    return refusal(ip) is None


def refusal(ip: str | IPv4Address | IPv6Address) -> str | None:
    """Why this address is not dialled, in words, or None if it may be. Never raises on text."""
    if isinstance(ip, str):
        try:
            ip = ip_address(ip)
        except ValueError:
            return "not an IP address"
    if isinstance(ip, IPv4Address):
        return _refusal_v4(ip)
    return _refusal_v6(ip)


def _refusal_v4(ip: IPv4Address) -> str | None:
    return next((f"{ip} is {what}" for network, what in _V4 if ip in network), None)


def _refusal_v6(ip: IPv6Address) -> str | None:
    if ip.scope_id is not None:
        return f"{ip} has a zone, so it is not global"
    if (inner := ip.ipv4_mapped) is not None or (ip in _NAT64 and (inner := IPv4Address(int(ip) & 0xFFFFFFFF))):
        reason = _refusal_v4(inner)
        return f"{ip} carries {reason}" if reason else None
    if ip in _SIX_TO_FOUR:
        return f"{ip} is a 6to4 address carrying {IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)}"
    if ip in _TEREDO:
        return f"{ip} is a Teredo address carrying {IPv4Address(~int(ip) & 0xFFFFFFFF)}"
    if int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        return f"{ip} is an ISATAP address carrying {IPv4Address(int(ip) & 0xFFFFFFFF)}"
    if ip not in _GLOBAL_V6:
        what = next((what for network, what in _V6_NAMES if ip in network), "outside global unicast space")
        return f"{ip} is {what}"
    return next((f"{ip} is {what}" for network, what in _V6 if ip in network), None)
