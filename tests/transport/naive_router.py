"""A program of the tests: a ROUTER that echoes, with or without the seeding that the mesh's Context does."""

from __future__ import annotations

import resource
import sys

import zmq

from mesh.transport import profile


def main(seeded: bool) -> None:
    """Print the endpoint, then echo until killed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # libzmq may abort it: that is what the test is about
    context = profile.new_context() if seeded else profile.MeshContext()
    router = profile.router(context, own=None)
    router.bind("tcp://127.0.0.1:*")
    print(router.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


if __name__ == "__main__":
    main(sys.argv[1] == "seeded")
