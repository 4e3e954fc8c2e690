"""Which addresses a URL may lead to."""

from __future__ import annotations

import pytest

from mesh.connections.guard import Guard


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::",
    "2002:a00:1::1", "no address", "",
])
def test_what_is_not_the_internet_is_refused_in_every_spelling(address: str) -> None:
    refusal = Guard().refuses(address)
    assert refusal is not None and address in refusal


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_internet_is_not(address: str) -> None:
    assert Guard().refuses(address) is None


def test_config_opens_networks_and_nothing_else() -> None:
    guard = Guard(["192.168.1.0/24", "fd00::/8"])
    assert guard.refuses("192.168.1.77") is None
    assert guard.refuses("::ffff:192.168.1.77") is None
    assert guard.refuses("fd12::1") is None
    assert guard.refuses("192.168.2.77") is not None
    assert guard.refuses("127.0.0.1") is not None
