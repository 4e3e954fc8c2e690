"""The benchmarks of growth and scale run, and measure what they name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.calls import ROOT
from benchmarks.instances import Kind, Window, rows_of


def test_growth_and_the_large_directory_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = subprocess.run([sys.executable, "-m", "benchmarks", "growth", "directory", "--smoke", "--json", str(file)],
                          cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(file.read_text())
    rows = {row["name"]: row for row in told["rows"]}
    assert {row["family"] for row in told["rows"]} == {"growth", "directory"}
    assert rows["3 hosts: 1 killed at once, until all are back"]["ratios"][0] > 0
    assert rows["3 hosts: calls/s, share of those with 3"]["figures"]["3, calls/s"][0] > 0
    assert 0 < rows["1,000 services: to resolve a name"]["median"] < 1000


def test_what_two_instances_gain_is_compared_with_what_the_cores_allow() -> None:
    kind = Kind("bench_toiler", "compute", 5.0, [Window(180.0, 5.5, 1.0)], [Window(320.0, 5.6, 0.51)], [1.5, 4.0], 2)
    told = {row.name: row for row in rows_of(kind, cores=2)}
    assert told["compute 5 ms: calls/s of 2 instances, times those of 1"].median == 320 / 180
    assert told["the same, share of what 2 cores allow"].median == (320 / 180) / 2.0
    assert {row.name: row for row in rows_of(kind, 1)}["the same, share of what 1 cores allow"].median > 1.5
    assert told["slowest `mesh agent scale` to 1, 2 or 3 under compute 5 ms"].median == 4.0
    assert told["compute 5 ms: failed calls while it was scaled 2 times"].verdict == "short"
