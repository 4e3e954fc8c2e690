"""`make bench`: one table of ratios, with what is promised and aimed at, and whether it was reached.

Baseline and mesh are measured in turn, so a drift of the machine touches both; a row is the median of its rounds.
`python -m benchmarks calls curve` measures these families alone.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from benchmarks import results, table
from benchmarks.effort import Effort
from benchmarks.families import FAMILIES, measured
from benchmarks.row import Curve, Row


def main() -> int:
    """Measure and print; returns 1 if a family could not be measured."""
    chosen = _arguments()
    if chosen.list:
        print("\n".join(f"{name:<12} {what}" for name, (_, what) in FAMILIES.items()))
        return 0
    effort = Effort(1 if chosen.smoke else chosen.rounds, chosen.smoke)
    before = results.machine()
    rows: list[Row] = []
    curves: list[Curve] = []
    broken = [name for name in chosen.families or FAMILIES if not _measure(name, effort, rows, curves)]
    print("\n".join(table.lines(rows)))
    if chosen.json:
        results.write(chosen.json, results.document(before, effort.rounds, rows, curves))
    if broken:
        print(f"could not be measured: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="what to measure; everything without one")
    parser.add_argument("--list", action="store_true", help="show the families and what they measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results of every round there")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.families if name not in FAMILIES]
    if unknown:
        parser.error(f"no family is called {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    return chosen


def _measure(name: str, effort: Effort, rows: list[Row], curves: list[Curve]) -> bool:
    """Measure a family; one that fails takes no other along."""
    effort.say(f"-- {name}: {FAMILIES[name][1]}")
    try:
        for found in measured(name, effort):
            if isinstance(found, Row):
                rows.append(found)
            else:
                curves.append(found)
    except Exception:
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
