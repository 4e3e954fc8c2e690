"""`python -m benchmarks.page RESULTS.json...`: the figures of `docs/performance.md`, written between two marks.

The table of all rows, with what a reader must know of the machine, and the pictures that `benchmarks.plots` drew. Of
two runs' rows with one name the later one counts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.calls import ROOT
from benchmarks.effort import number_of
from benchmarks.families import FAMILIES
from benchmarks.plots import by_plot, file_of, title_of
from benchmarks.row import Row

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- the figures below are written by `python -m benchmarks.page` -->"
END = "<!-- end of the figures -->"


def main() -> int:
    """Write; returns 1 for a page without marks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what `python -m benchmarks --json` wrote")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    text = chosen.page.read_text()
    if BEGIN not in text or END not in text:
        print(f"{chosen.page} has no lines {BEGIN} and {END} between which the figures go", file=sys.stderr)
        return 1
    figures = "\n".join(_figures(chosen.results, chosen.page.parent / "plots"))
    marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    chosen.page.write_text(marked.sub(lambda _: f"{BEGIN}\n\n{figures}\n{END}", text))
    return 0


def _figures(files: Sequence[Path], plots: Path) -> Iterator[str]:
    yield from _machines([json.loads(file.read_text()) for file in files])
    rows = {(row.family, row.name): row for file in files for row in results.read_rows(file)}
    yield "| | promise | aim | median | least | most | |"
    yield "|---|---|---|---|---|---|---|"
    families = list(dict.fromkeys(family for family, _ in rows))
    for family in sorted(families, key=lambda one: list(FAMILIES).index(one) if one in FAMILIES else len(FAMILIES)):
        yield f"| **{family}** | | | | | | |"
        yield from (_line(row) for row in rows.values() if row.family == family)
    yield ""
    for name in by_plot(results.read_curves(files)):
        if (plots / file_of(name)).exists():
            yield f"![{title_of(name)}](plots/{file_of(name)})\n"


def _machines(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a paragraph for each day and machine that something was measured on."""
    families: dict[str, list[str]] = {}
    loads: dict[str, list[float]] = {}
    for run in runs:
        told = run["machine"]
        where = (f"{told['cores']} cores of {told['processor']}, Python {told['python']}, pyzmq {told['pyzmq']} "
                 f"(libzmq {told['libzmq']}), uvloop {told['uvloop'] or 'not there'}; {told['date'][:10]}, "
                 f"{run['rounds']} rounds")
        of = (one["family"] for one in (*run["rows"], *run["curves"]))
        families[where] = list(dict.fromkeys([*families.get(where, []), *of]))
        loads.setdefault(where, []).append(told["load_before"][0])
    for where, names in families.items():
        yield f"{where}; a load of {min(loads[where]):.1f} to {max(loads[where]):.1f} before: {', '.join(names)}.\n"


def _line(row: Row) -> str:
    sign = "≥" if row.higher_is_better else "≤"
    bounds = " | ".join("" if bound is None else f"{sign} {number_of(bound)}" for bound in (row.promise, row.aim))
    figures = " | ".join(number_of(value) for value in (row.median, min(row.ratios), max(row.ratios)))
    unit = f", {row.unit}" if row.unit else ""
    return f"| {row.name}{unit} | {bounds} | {figures} | {row.verdict} |"


if __name__ == "__main__":
    sys.exit(main())
