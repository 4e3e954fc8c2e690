"""A plain connect tells an open port from a closed and from a silent one."""

from __future__ import annotations

import asyncio
import socket

from mesh.supervisor.showing.reach import dial
from tests.project import free_ports


def test_a_listening_port_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert asyncio.run(dial("127.0.0.1", server.getsockname()[1])) == "open"


def test_a_port_nobody_listens_at_is_closed() -> None:
    assert asyncio.run(dial("127.0.0.1", free_ports(1)[0])) == "closed"


def test_a_port_that_lets_nobody_in_is_silent() -> None:
    with socket.socket() as full:  # a queue that is full takes no further connection, like a firewall that drops
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            assert asyncio.run(dial("127.0.0.1", full.getsockname()[1], 0.3)) == "silent"


def test_an_address_that_is_none_is_told_in_words() -> None:
    assert asyncio.run(dial("no-such-host.invalid", 7400)) not in ("open", "closed")
