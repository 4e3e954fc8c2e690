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
    found: list[Row | Curve] = []
    before = results.machine()
    broken = [name for name in chosen.families or FAMILIES if not _measure(name, effort, found, chosen.results)]
    print("\n".join(table.lines(one for one in found if isinstance(one, Row))))
    if chosen.json:
        results.write(chosen.json, results.document(before, effort.rounds, found))
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
    parser.add_argument("--results", type=Path, metavar="DIR", help="the same, in a file for each family")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.families if name not in FAMILIES]
    if unknown:
        parser.error(f"no family is called {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    return chosen


def _measure(name: str, effort: Effort, found: list[Row | Curve], folder: Path | None) -> bool:
    """Measure a family; one that fails takes no other along."""
    effort.say(f"-- {name}: {FAMILIES[name][1]}")
    own: list[Row | Curve] = []
    before = results.machine()
    try:
        for one in measured(name, effort):
            own.append(one)
            found.append(one)
    except Exception:
        traceback.print_exc()
        return False
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        results.write(folder / f"{name}.json", results.document(before, effort.rounds, own))
    return True


if __name__ == "__main__":
    sys.exit(main())
