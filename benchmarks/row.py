"""What a family of benchmarks yields: rows of the table, each with its promise, and curves for a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["pass", "short", ""]
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Row:
    """One promise and what was measured of it, a value for each round.

    `ratios` are shares of the baseline or times it, or figures in `unit` where the promise is one; without a promise
    the row only tells. `figures` are what the ratios were made of (`raw, calls/s`), also by round; they go to the JSON.
    """

    name: str
    ratios: Sequence[float]
    promise: float | None = None
    aim: float | None = None
    higher_is_better: bool = True
    unit: str = ""
    figures: Mapping[str, Sequence[float]] = field(default_factory=dict)
    family: str = ""

    @property
    def median(self) -> float:
        """The value that is compared with the promise."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> Verdict:
        """Whether the promise was kept; empty without one."""
        if self.promise is None:
            return ""
        return "pass" if self._reaches(self.promise) else "short"

    @property
    def aim_reached(self) -> bool:
        """Whether the aim was reached too."""
        return self.aim is not None and self._reaches(self.aim)

    def _reaches(self, bound: float) -> bool:
        return self.median >= bound if self.higher_is_better else self.median <= bound


@dataclass(frozen=True)
class Curve:
    """One line of a plot: points of (x, y).

    Curves of a family with the same `plot` are drawn into one picture; `y` may be of several rounds, whose median is
    the point and whose spread is shown.
    """

    plot: str
    name: str
    x_label: str
    y_label: str
    points: Sequence[tuple[float, Sequence[float]]]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    family: str = ""
