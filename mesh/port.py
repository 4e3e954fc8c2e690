"""Whether a port can be listened at, and who holds it if not: asked before anything else is opened."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

import psutil

from mesh.address import endpoint
from mesh.errors import StartError

_WILDCARDS = ("0.0.0.0", "::")

_REASONS: Mapping[int, str] = {
    errno.EADDRNOTAVAIL: "the address is not of this machine; correct it in config/hosts.yaml",
    errno.EACCES: "this user may not use that port; choose one over 1023 for {setting} in config/hosts.yaml",
}


def ensure_free(address: str, port: int, who: str, setting: str) -> None:
    """Raise `StartError` if `who` cannot listen there: the port, who may hold it, the `setting` to change."""
    try:
        with socket.socket(_family(address), socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libzmq does: a closing one is no obstacle
            trial.bind((address, port))
            trial.listen(1)
    except OSError as error:
        where = f"{who} cannot listen at {endpoint(address, port)}"
        if error.errno != errno.EADDRINUSE:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            raise StartError(f"{where}: {reason.format(setting=setting)}") from None
        raise StartError(
            f"{where}: port {port} is taken by {holder(address, port)}; stop that first (`mesh down` if it is an older "
            f"mesh of yours), or choose another {setting} in config/hosts.yaml"
        ) from None


def listening(address: str, port: int) -> socket.socket:
    """Return a socket that listens there, never waiting in `accept`; raises `OSError` as the system does."""
    door = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((address, port))
        door.listen()
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door


def holder(address: str, port: int) -> str:
    """Return in words who listens at a port, as far as this user may know."""
    unknown = "a program that this user may not see"
    pid = listener(address, port)
    if pid is None:
        return unknown
    try:
        command = " ".join(" ".join(psutil.Process(pid).cmdline()).split())
    except psutil.Error:  # the system tells only root, or the process has just ended
        return unknown
    return f"process {pid} ({command if len(command) < 80 else command[:77] + '...'})"


def listener(address: str, port: int) -> int | None:
    """Return the process that listens at a port, None if there is none that this user may see."""
    try:
        listening = [
            connection for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr
            and connection.laddr.port == port and connection.laddr.ip in (address, *_WILDCARDS)
        ]
    except psutil.Error:
        return None
    return next((connection.pid for connection in listening if connection.pid), None)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
