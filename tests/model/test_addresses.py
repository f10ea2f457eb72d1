"""The address filter: nothing special-purpose, and nothing that carries it."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model.addresses import is_global, refusal

# Hand-written from the IANA registries, apart from the table under test.
SPECIAL_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
SPECIAL_V6 = [
    "::/96", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/3", "8000::/3",
]  # fmt: skip
special_v4 = st.sampled_from(SPECIAL_V4).flatmap(lambda network: st.ip_addresses(network=network))
special_v6 = st.sampled_from(SPECIAL_V6).flatmap(lambda network: st.ip_addresses(network=network))


def embeddings(ip: IPv4Address) -> list[IPv6Address]:
    """The IPv6 forms that carry an IPv4 address."""
    n = int(ip)
    return [
        IPv6Address(0xFFFF << 32 | n),
        IPv6Address(int(IPv6Address("64:ff9b::")) | n),
        IPv6Address(int(IPv6Address("64:ff9b:1::")) | n),
        IPv6Address(0x2002 << 112 | n << 80 | 1),
        IPv6Address(int(IPv6Address("2001::")) | n ^ 0xFFFFFFFF),
        IPv6Address(n),
        IPv6Address(0xFFFF << 48 | n),
        IPv6Address(int(IPv6Address("2606:4700::5efe:0:0")) | n),
        IPv6Address(int(IPv6Address("2606:4700::200:5efe:0:0")) | n),
    ]


@given(special_v4)
def test_case_31_no_special_ipv4_address_is_dialled_in_any_form(ip: IPv4Address) -> None:
    assert not is_global(ip) and not is_global(str(ip))
    for form in embeddings(ip):
        assert not is_global(form), form
        assert not is_global(form.exploded)


@given(special_v6)
def test_case_31_no_special_ipv6_address_is_dialled(ip: IPv6Address) -> None:
    assert not is_global(ip) and not is_global(ip.exploded)


@given(st.ip_addresses())
def test_whatever_is_dialled_the_standard_library_calls_global_too(ip: IPv4Address | IPv6Address) -> None:
    if is_global(ip) and not (isinstance(ip, IPv6Address) and ip.ipv4_mapped):
        assert ip.is_global and not ip.is_private and not ip.is_multicast


@pytest.mark.parametrize(
    "ip",
    ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "64:ff9b::a9fe:a9fe",
     "::ffff:169.254.169.254", "2002:a9fe:a9fe::1", "fd20:ce::254", "fe80::a9fe:a9fe%eth0"],
)  # fmt: skip
def test_case_31_cloud_metadata_is_refused(ip: str) -> None:
    assert refusal(ip)


@pytest.mark.parametrize("ip", ["fec0::1", "192.0.0.8", "100.64.0.1", "64:ff9b::7f00:1", "::ffff:0:127.0.0.1", "::127.0.0.1"])
def test_case_26_what_the_standard_library_once_called_global_is_refused(ip: str) -> None:
    assert refusal(ip)


@pytest.mark.parametrize(
    "ip",
    ["8.8.8.8", "1.1.1.1", "140.82.121.4", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "64:ff9b::808:808",
     "::ffff:8.8.8.8"],
)  # fmt: skip
def test_public_addresses_are_dialled(ip: str) -> None:
    assert is_global(ip) and is_global(ipaddress.ip_address(ip))


@pytest.mark.parametrize("zone", ["2606:4700::1111%eth0", "2606:4700::1111%1"])
def test_case_26_a_zone_is_refused_even_on_a_global_address(zone: str) -> None:
    assert not is_global(zone)


@given(st.text())
def test_text_that_is_no_address_is_refused_and_never_raises(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert refusal(text) == "not an IP address"


@pytest.mark.parametrize("text", ["127.1", "0x7f.1", "2130706433", "017700000001", "010.0.0.1", "1.1.1.1 ", "１.1.1.1"])
def test_case_32_other_spellings_of_an_address_are_not_addresses(text: str) -> None:
    assert refusal(text) == "not an IP address"


def test_a_refusal_names_what_is_carried() -> None:
    assert refusal("2001:0:4136:e378:8000:63bf:3fff:fdd2") == (
        "2001:0:4136:e378:8000:63bf:3fff:fdd2 is a Teredo address carrying 192.0.2.45"
    )
    assert refusal("64:ff9b::a9fe:a9fe") == "64:ff9b::a9fe:a9fe carries 169.254.169.254 is link-local (cloud metadata)"
