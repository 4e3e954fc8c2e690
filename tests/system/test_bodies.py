"""The benchmark of big bodies runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_benchmark_of_big_bodies_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.bodies", "--smoke"], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| 1024 \| (\d) \| \d+ \| \d+ \| (\d+\.\d\d) \|", done.stdout, re.MULTILINE)
    assert [outstanding for outstanding, _ in rows] == ["1", "4"]
    assert all(float(share) > 0 for _, share in rows)
    assert "a link of 1 Gbit/s: one TCP connection brings" in done.stdout or "not measured" in done.stdout
