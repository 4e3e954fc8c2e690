"""Which addresses an agent may reach by a URL that somebody gave it: those of the internet, and what config adds.

A URL may come from a user, a page or a model; without this rule it reaches the router, the host's own services or the
metadata of a cloud machine. The rule looks at the addresses a name stands for, at the moment of connecting, so a name
that changes its mind between the look and the connection gains nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Guard:
    """Allows the addresses of the internet and the networks in `private`."""

    def __init__(self, private: Iterable[str] = ()) -> None:
        self._private = [ipaddress.ip_network(network) for network in private]

    def refuses(self, text: str) -> str | None:
        """Return why an address may not be reached, None when it may."""
        try:
            address = inner(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return f"{text} is no address"
        if any(address in network for network in self._private if network.version == address.version):
            return None
        if address.is_global and not address.is_multicast:
            return None
        return f"{text} is {_kind(address)}"


def inner(address: Address) -> Address:
    """Return the address that a form of IPv6 stands for: of IPv4 inside IPv6 that is the IPv4 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return embedded or address


def _kind(address: Address) -> str:
    for word, found in (("unspecified", address.is_unspecified), ("loopback", address.is_loopback),
                        ("link-local", address.is_link_local), ("multicast", address.is_multicast)):
        if found:
            return word
    return "private" if address.is_private else "reserved"
