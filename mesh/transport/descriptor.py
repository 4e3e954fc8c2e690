"""Connections seen as descriptors of the operating system: where they come from, and how to end one.

libzmq names a connection to its owner only by descriptor and offers no way to close one. Descriptors are reused, so
nothing is ended unless it is a connection to the port it is believed to belong to.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNKNOWN = "unknown address"


def peer_address(descriptor: int) -> str:
    """Return address and port of the other end, `unknown address` if the connection is already gone."""
    try:
        with _borrowed(descriptor) as connection:
            return _text(connection.getpeername())
    except OSError:
        return UNKNOWN


def within_machine(descriptor: int) -> bool:
    """Tell whether the connection came over a socket in the file system, which only this user's programs reach."""
    if sys.platform == "win32":
        return False
    try:
        with _borrowed(descriptor) as connection:
            return connection.family == socket.AF_UNIX
    except OSError:
        return False


def hang_up(descriptor: int, at: int | str) -> bool:
    """End the connection if it is one to our own TCP port or socket path `at`; tells whether it was."""
    try:
        with _borrowed(descriptor) as connection:
            if _place(connection) != at:
                return False
            connection.shutdown(socket.SHUT_RDWR)
            return True
    except OSError:
        return False


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Give the connection as a socket, pinned by a duplicate so the number cannot come to mean another meanwhile."""
    if sys.platform == "win32":  # sockets are no descriptors there and cannot be duplicated as such
        connection = socket.socket(fileno=descriptor)
        try:
            yield connection
        finally:
            connection.detach()
        return
    duplicate = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise
    with connection:
        yield connection


def _place(connection: socket.socket) -> int | str | None:
    """Return the port or path at which a connection came in."""
    name = connection.getsockname()
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        return int(name[1])
    return name if isinstance(name, str) else None


def _text(address: object) -> str:
    """Return `host:port` for an internet address, anything else as it is."""
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return str(address)
