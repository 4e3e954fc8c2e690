"""The benchmark of events runs, and accounts for each event."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_of_events_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "events", "--smoke"], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"events to (3 hosts|2 agents), delivered.* \d", done.stdout) == ["3 hosts", "2 agents"]
