"""A program of the tests: welcomes and echoes heartbeats like a registry, so that it can be stopped with a signal."""

from __future__ import annotations

import sys

import zmq

from mesh.transport import profile
from tests.transport.registry_stub import RegistryStub


def main(endpoint: str) -> None:
    """Print the endpoint, then answer until killed."""
    registry = RegistryStub(profile.new_context(), None, endpoint)
    print(registry.endpoint, flush=True)
    while True:
        registry.socket.poll(1000, zmq.POLLIN)
        registry.answer()


if __name__ == "__main__":
    main(sys.argv[1])
