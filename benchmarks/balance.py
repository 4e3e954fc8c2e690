"""What it costs to find the instance of a call, in a mesh of 10^5 services: microseconds of CPU time, best of rounds.

`python -m benchmarks.balance`
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.directory import Directory
from mesh.policy.balance import STRATEGIES, Balancer
from mesh.records import HostRecord, InstanceRecord

SERVICES = 100_000
CALLS = 20_000
ROUNDS = 5
PROMISED_US = 2.0
"""For a service with one instance."""


def filled() -> Directory:
    """Return a directory of 10^5 services with one instance each, and of one with 2, 3 and 10."""
    hosts = [f"pc{number}" for number in range(10)]
    rows = [InstanceRecord(f"service{number}", hosts[number % 10], 1, "ready") for number in range(SERVICES)]
    rows += [InstanceRecord(f"many{count}", host, 1, "ready") for count in (2, 3, 10) for host in hosts[:count]]
    directory = Directory()
    directory.replace(1, 1, {
        "settled": True, "desired": [], "overrides": [], "instances": [row.to_wire() for row in rows],
        "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in hosts],
    })
    return directory


def microseconds(work: Callable[[str], object], names: list[str]) -> float:
    """Return what one call of `work` takes, in the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for name in names:
            work(name)
        best = min(best, time.thread_time() - began)
    return best / len(names) * 1e6


def main() -> None:
    """Measure and print."""
    directory = filled()
    step = SERVICES // CALLS
    spread = [f"service{number}" for number in range(0, SERVICES, step)]
    alone = microseconds(directory.candidates, spread)
    print(f"one instance of 10^5 services: {alone:.2f} µs (promise ≤ {PROMISED_US:g})")
    for count in (2, 3, 10):
        rows = directory.candidates(f"many{count}")[0]
        for host, where in (("pc0", "one of them here"), ("pc99", "none here")):
            for strategy in STRATEGIES:
                balancer = Balancer(host)
                for row in rows:
                    balancer.load.add(row)

                def chosen(service: str, balancer: Balancer = balancer, strategy: str = strategy) -> object:
                    return balancer.choose(directory.candidates(service)[0], strategy, b"anna")

                cost = microseconds(chosen, [f"many{count}"] * CALLS)
                print(f"{count:>2} instances, {where:<16} {strategy:<18} {cost:6.2f} µs")


if __name__ == "__main__":
    main()
