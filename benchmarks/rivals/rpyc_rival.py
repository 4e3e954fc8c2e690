"""RPyC: a threaded server, asynchronous calls; text and number come back as a tuple, which travels by value."""

import json
import sys
import threading
import time
from collections import deque
from typing import Any

import rpyc
from drive import OUTSTANDING, TEXT
from rpyc.utils.server import ThreadedServer


class Echo(rpyc.Service):  # type: ignore[misc]
    """Returns what it is given."""

    def exposed_echo(self, text: str, number: int) -> tuple[str, int]:
        """Return the arguments."""
        return text, number


def serve(port: int) -> None:
    """Answer until the parent closes the pipe."""
    server = ThreadedServer(Echo, hostname="127.0.0.1", port=port)
    threading.Thread(target=server.start, daemon=True).start()
    while not server.active:
        time.sleep(0.01)
    print(port, flush=True)
    sys.stdin.read()
    server.close()


def measure(port: int, calls: int, alone: int) -> None:
    """Call it."""
    connection = rpyc.connect("127.0.0.1", port)
    call = rpyc.async_(connection.root.echo)

    def made(count: int, outstanding: int) -> float:
        running: deque[Any] = deque()
        began = time.perf_counter()
        for number in range(count):
            if len(running) == outstanding:
                _checked(running.popleft())
            running.append((number, call(TEXT, number)))
        while running:
            _checked(running.popleft())
        return time.perf_counter() - began

    made(50, 1)
    rate = calls / made(calls, OUTSTANDING)
    latencies = sorted(made(1, 1) for _ in range(alone))
    print(json.dumps({"calls_per_second": rate, "p50": latencies[alone // 2]}), flush=True)


def _checked(made: tuple[int, Any]) -> None:
    number, answer = made
    answer.wait()
    if answer.value[1] != number:
        raise ValueError(f"asked for {number}, got {answer.value}")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    (serve if sys.argv[1] == "serve" else measure)(*numbers)
