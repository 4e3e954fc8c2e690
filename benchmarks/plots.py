"""`python -m benchmarks.plots RESULTS.json...`: one picture per plot of the results, into `docs/plots`.

A point is the median of its rounds, the band behind it goes from the least to the most. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.calls import ROOT
from benchmarks.row import Curve

COLOURS = ("#555555", "#0b6fb8", "#d1495b", "#2e8b57", "#b8860b", "#7b4fa3", "#e07b39", "#1b9aaa")
DASHED = ", p99"
"""A curve whose name ends so has the colour of the one that it belongs to, and dashes."""
TITLES: Mapping[str, str] = {
    "load": "Latency against load, remote calls in an open loop",
    "outstanding": "Calls per second against calls outstanding",
    "memory": "Memory against agents",
    "growth-services": "Calls per second against services, 64 outstanding",
    "growth-hosts": "Calls per second against hosts, 64 outstanding",
    "cost-services": "Processor time of a call in both hosts, against services",
    "cost-hosts": "Processor time of a call in both hosts, against hosts",
}


def main() -> int:
    """Draw; returns 1 without matplotlib or curves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what `python -m benchmarks --json` wrote")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "plots")
    chosen = parser.parse_args()
    plots = by_plot(results.read_curves(chosen.results))
    if not plots:
        print("nothing is drawn: the results have no curves; families with some are load and outstanding")
        return 0
    chosen.folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, curves in plots.items():
            draw(name, curves, chosen.folder / file_of(name))
            print(chosen.folder / file_of(name))
    except ImportError:
        print("matplotlib is not installed; pip install 'mesh[bench]'", file=sys.stderr)
        return 1
    return 0


def by_plot(curves: Iterable[Curve]) -> dict[str, list[Curve]]:
    """Return the curves of each picture; of two runs' curves with one name the later one."""
    plots: dict[str, dict[str, Curve]] = {}
    for curve in curves:
        plots.setdefault(curve.plot, {})[curve.name] = curve
    return {plot: list(by_name.values()) for plot, by_name in plots.items()}


def file_of(name: str) -> str:
    """Return the file name of a plot."""
    return f"{name.replace(' ', '-')}.svg"


def title_of(name: str) -> str:
    """Return what a plot shows, in words."""
    return TITLES.get(name, name[:1].upper() + name[1:])


def draw(name: str, curves: Sequence[Curve], file: Path) -> None:
    """Draw one picture; raises `ImportError` without matplotlib."""
    import matplotlib  # an optional extra

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11})
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    figure, axes = pyplot.subplots(figsize=(8, 4.6), layout="constrained")
    groups = list(dict.fromkeys(curve.name.removesuffix(DASHED).removesuffix(", p50") for curve in curves))
    for curve in curves:
        colour = COLOURS[groups.index(curve.name.removesuffix(DASHED).removesuffix(", p50")) % len(COLOURS)]
        x = [x for x, _ in curve.points]
        dashed = curve.name.endswith(DASHED)
        axes.plot(x, [statistics.median(y) for _, y in curve.points], label=curve.name, color=colour, marker="o",
                  markersize=3.5, linestyle="--" if dashed else "-", linewidth=1.6)
        axes.fill_between(x, [min(y) for _, y in curve.points], [max(y) for _, y in curve.points], color=colour,
                          alpha=0.12, linewidth=0)
    first = curves[0]
    axes.set(title=title_of(name), xlabel=first.x_label, ylabel=first.y_label, xscale=first.x_scale,
             yscale=first.y_scale)
    if first.y_scale == "linear":
        axes.set_ylim(bottom=0)
    if first.x_scale == "log":
        axes.set_xticks(sorted({x for curve in curves for x, _ in curve.points}))
        axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    file.write_text(re.sub(r"[ \t]+$", "", file.read_text(), flags=re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
