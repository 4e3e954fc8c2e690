"""What traces cost: 1 % of the calls sampled, and all of them, against none.

`python -m benchmarks.tracing`. Three meshes run side by side and have work in turn; each call begins a trace of its
own, so the lot is drawn for each. What is compared is the processor time that both hosts spend on a call, which other
work on the machine disturbs less than it does calls per second.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import calls

SHARES = (0.0, 0.01, 1.0)
PROMISES = {0.01: 1 / 0.95}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of a round at 64 outstanding")
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.calls = 1, 640
    ratios = _ratios(chosen.rounds, chosen.calls)
    print(f"{'processor time of a call, times that of none':<46} {'median':>7} {'least':>7} {'most':>7}")
    for share, found in ratios.items():
        promise = PROMISES.get(share)
        median = statistics.median(found)
        told = "" if promise is None else f"   ≤ {promise:.2f}   {'pass' if median <= promise else 'short'}"
        print(f"{f'{share:.0%} of the calls sampled':<46} {median:>7.3f} {min(found):>7.3f} {max(found):>7.3f}{told}")


def _ratios(rounds: int, number: int) -> dict[float, list[float]]:
    """Return for each share of sampled calls the ratio of each round."""
    ratios: dict[float, list[float]] = {share: [] for share in SHARES[1:]}
    with contextlib.ExitStack() as stack:
        folders = {share: stack.enter_context(_running(share)) for share in SHARES}
        for folder in folders.values():
            _spent(folder, min(number, 6_400))
        for _ in range(rounds):
            spent = {share: _spent(folder, number) for share, folder in folders.items()}
            for share, found in ratios.items():
                found.append(spent[share] / spent[0.0])
    return ratios


@contextlib.contextmanager
def _running(share: float) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name, \
            calls.running(Path(name), security="none", sample=share) as folder:
        yield folder


def _spent(folder: Path, number: int) -> float:
    """Return the seconds of processor time of a call, from `number` calls at 64 outstanding."""
    hosts = [process for process in psutil.process_iter() if _is_host(process, folder)]
    before = _processor(hosts)
    calls.measure(folder, calls=number, outstanding=64, roots=True)
    return (_processor(hosts) - before) / number


def _is_host(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "mesh.supervisor" in words and str(folder) in words
    return False


def _processor(hosts: list[psutil.Process]) -> float:
    return sum(sum(host.cpu_times()[:2]) for host in hosts)


if __name__ == "__main__":
    main()
