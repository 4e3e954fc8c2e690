"""The benchmark of big bodies runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_big_bodies_go_there_and_back_and_have_their_rows() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "bodies", "--smoke"], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"1 MB there and back, plain, (\d) outstanding, share of raw", done.stdout) == ["1", "4"]
    assert "bulk on 1 Gbit/s beside small calls" in done.stdout or "not measured" in done.stderr
