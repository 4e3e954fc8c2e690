"""How much work a run of the benchmarks may be, and the rounds in which baseline and mesh have their turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How many rounds, and whether it is only to be shown that the programs run."""

    rounds: int = 5
    smoke: bool = False

    def of(self, count: int, smoke: int) -> int:
        """Return `count`, in the smoke form `smoke`."""
        return smoke if self.smoke else count

    def in_turn(self, ways: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Measure each way once per round, there and back again, so that a drift of the machine favours none.

        Returns the values of the rounds by way, and tells of each round on standard error.
        """
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(self.rounds):
            for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
                found[name].append(ways[name]())
            self.say(f"round {number + 1}: " + "; ".join(f"{name} {number_of(found[name][-1])}" for name in ways))
        return found

    def say(self, text: str) -> None:
        """Tell whoever waits; the table alone goes to standard output."""
        print(text, file=sys.stderr, flush=True)


def ratios(measured: list[float], baseline: list[float]) -> list[float]:
    """Return for each round what was measured, in parts of the baseline of the same round."""
    return [one / base for one, base in zip(measured, baseline, strict=True)]


def number_of(value: float) -> str:
    """Return a figure with three digits that count, and all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"
