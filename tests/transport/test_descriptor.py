"""A connection is named and ended by its descriptor, and no other is ever ended by mistake."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from mesh.transport.descriptor import UNKNOWN, hang_up, peer_address
from tests.transport.resources import nothing_left

Pair = tuple[socket.socket, socket.socket, int]


@pytest.fixture
def connection() -> Iterator[Pair]:
    """Give the client's end, the server's end and the server's port."""
    with nothing_left(), socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted, port


def test_the_other_end_is_named(connection: Pair) -> None:
    client, accepted, _ = connection
    assert peer_address(accepted.fileno()) == f"127.0.0.1:{client.getsockname()[1]}"


def test_a_connection_that_is_gone_has_no_name(connection: Pair) -> None:
    assert peer_address(9999) == UNKNOWN


def test_a_connection_to_our_port_is_ended(connection: Pair) -> None:
    client, accepted, port = connection
    assert hang_up(accepted.fileno(), port)
    client.settimeout(5)
    assert client.recv(1) == b""


def test_a_descriptor_that_means_another_connection_by_now_is_left_alone(connection: Pair) -> None:
    client, accepted, port = connection
    assert not hang_up(accepted.fileno(), port + 1)
    accepted.sendall(b"x")
    client.settimeout(5)
    assert client.recv(1) == b"x"


def test_a_descriptor_that_is_no_connection_is_left_alone(connection: Pair) -> None:
    read, write = os.pipe()
    try:
        assert not hang_up(write, connection[2])
        os.write(write, b"x")
        assert os.read(read, 1) == b"x"
    finally:
        os.close(read)
        os.close(write)
