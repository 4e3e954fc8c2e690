"""Pictures of the benchmarks' curves."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import results
from benchmarks.plots import by_plot
from benchmarks.row import Curve

ROOT = Path(__file__).resolve().parent.parent.parent
RAW = Curve("outstanding", "raw", "calls outstanding", "calls/s", [(1, [9.0, 11.0]), (4, [40.0, 30.0])], x_scale="log")
MESH = Curve("outstanding", "mesh", "calls outstanding", "calls/s", [(1, [5.0]), (4, [20.0])], x_scale="log")
SLOW = Curve("load of all", "mesh, p99", "calls offered per second", "ms", [(10, [0.5]), (20, [2.5])], y_scale="log")


def test_curves_of_a_plot_are_together_and_the_later_run_counts() -> None:
    again = Curve("outstanding", "mesh", "calls outstanding", "calls/s", [(1, [6.0])])
    assert by_plot([RAW, MESH, SLOW, again]) == {"outstanding": [RAW, again], "load of all": [SLOW]}


def test_each_plot_is_a_picture_or_it_is_said_what_to_install(tmp_path: Path) -> None:
    done = _draw(tmp_path, [RAW, MESH, SLOW])
    if find_spec("matplotlib") is None:
        assert done.returncode == 1 and "pip install 'mesh[bench]'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    for name, words in (("outstanding", ("raw", "mesh", "calls/s")), ("load-of-all", ("mesh, p99", "ms"))):
        picture = (tmp_path / f"{name}.svg").read_text()
        ElementTree.fromstring(picture)
        assert all(f">{word}<" in picture for word in words)


def test_results_without_curves_say_which_families_have_some(tmp_path: Path) -> None:
    done = _draw(tmp_path, [])
    assert done.returncode == 0 and "load and outstanding" in done.stdout


def _draw(folder: Path, curves: list[Curve]) -> subprocess.CompletedProcess[str]:
    file = folder / "results.json"
    results.write(file, results.document(results.machine(), 1, curves))
    return subprocess.run([sys.executable, "-m", "benchmarks.plots", str(file), "--folder", str(folder)], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, check=False)
