"""The figures of docs/performance.md, written from results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import results
from benchmarks.page import BEGIN, END, PAGE
from benchmarks.row import Curve, Row

ROOT = Path(__file__).resolve().parent.parent.parent
LOAD = Curve("load", "raw, p50", "calls/s", "ms", [(1.0, [2.0])], family="load")


def test_the_page_has_a_place_for_the_figures() -> None:
    assert PAGE.read_text().count(BEGIN) == PAGE.read_text().count(END) == 1


def test_rows_and_pictures_are_written_between_the_marks_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "load.svg").write_text("<svg/>")
    _results(tmp_path / "a.json", [Row("p99", [9.0, 12.0, 30.0], 10.0, None, False, "ms", family="streams"), LOAD])
    _results(tmp_path / "b.json", [Row("share of raw", [0.4], 0.5, 0.8, family="calls")])
    _results(tmp_path / "c.json", [Row("share of raw", [0.6], 0.5, 0.8, family="calls")])
    done = _write(page, *(tmp_path / f"{name}.json" for name in "abc"))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith(f"before\n\n{BEGIN}") and text.endswith(f"{END}\n\nafter\n") and "old" not in text
    calls, streams = text.index("| **calls** |"), text.index("| **streams** |")
    assert calls < text.index("| share of raw | ≥ 0.50 | ≥ 0.80 | 0.60 | 0.60 | 0.60 | pass |") < streams
    assert streams < text.index("| p99, ms | ≤ 10.00 |  | 12.00 | 9.00 | 30.00 | short |")
    assert "(plots/load.svg)" in text and "streams, load, calls" in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("nothing\n")
    _results(tmp_path / "a.json", [])
    done = _write(page, tmp_path / "a.json")
    assert done.returncode == 1 and BEGIN in done.stderr and page.read_text() == "nothing\n"


def _results(file: Path, found: list[Row | Curve]) -> None:
    results.write(file, results.document(results.machine(), 3, found))


def _write(page: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks.page", *map(str, files), "--page", str(page)], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False)
