"""The table of the benchmarks: what is promised, what was measured, pass or short."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import results, table
from benchmarks.effort import Effort, ratios
from benchmarks.families import FAMILIES
from benchmarks.row import Curve, Row

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(("measured", "higher", "verdict", "aim"), [
    ([0.6, 0.4, 0.5], True, "pass", False), ([0.9, 0.8, 0.1], True, "pass", True),
    ([0.4, 0.4, 9.0], True, "short", False),
    ([0.6, 0.4, 0.5], False, "pass", True), ([0.7, 0.6, 0.1], False, "short", True),
])
def test_the_median_decides(measured: list[float], higher: bool, verdict: str, aim: bool) -> None:
    row = Row("share", measured, 0.5, 0.75, higher_is_better=higher)
    assert (row.verdict, row.aim_reached) == (verdict, aim)


def test_a_row_without_a_promise_only_tells() -> None:
    row = Row("as it is", [1.0])
    assert (row.verdict, row.aim_reached) == ("", False)


def test_the_table_shows_promise_aim_median_spread_and_verdict() -> None:
    shown = list(table.lines([
        Row("calls", [0.41, 0.52, 0.63], 0.50, 0.80, family="calls"),
        Row("p99", [25.0, 2000.0, 101.25], 20.0, None, higher_is_better=False, unit="ms", family="calls"),
        Row("memory", [60.0], family="footprint"),
    ]))
    assert [line.split() for line in shown] == [
        ["promise", "aim", "median", "least", "most"],
        ["calls"], ["calls", "≥", "0.50", "≥", "0.80", "0.52", "0.41", "0.63", "pass"],
        ["p99,", "ms", "≤", "20.00", "101", "25.00", "2,000", "short"],
        ["footprint"], ["memory", "60.00", "60.00", "60.00"],
    ]


def test_rounds_go_there_and_back_again() -> None:
    order: list[str] = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = Effort(rounds=3).in_turn({"base": lambda: way("base"), "mesh": lambda: way("mesh")})
    assert order == ["base", "mesh", "mesh", "base", "base", "mesh"]
    assert found == {"base": [1.0, 4.0, 5.0], "mesh": [2.0, 3.0, 6.0]}
    assert ratios(found["mesh"], found["base"]) == [2.0, 0.75, 1.2]


def test_results_say_on_which_machine_and_bring_the_curves_back(tmp_path: Path) -> None:
    curve = Curve("load", "raw", "calls/s", "ms", [(1.0, [2.0, 3.0])], x_scale="log")
    file = tmp_path / "results.json"
    results.write(file, results.document(results.machine(), 3, [Row("share", [0.5], 0.4), curve]))
    told = json.loads(file.read_text())
    assert {"cores", "python", "pyzmq", "uvloop", "load_before", "load_after", "date"} <= set(told["machine"])
    assert (told["rows"][0]["median"], told["rows"][0]["verdict"]) == (0.5, "pass")
    again, = results.read_curves([file])
    assert (again.name, again.x_scale) == ("raw", "log")
    assert [(x, list(y)) for x, y in again.points] == [(1.0, [2.0, 3.0])]


def test_every_family_has_its_module() -> None:
    assert [name for name, (module, _) in FAMILIES.items() if find_spec(module) is None] == []


def test_a_family_is_measured_between_real_processes(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = _run("local", "--smoke", "--json", str(file))
    assert done.returncode == 0, done.stderr
    row, = json.loads(file.read_text())["rows"]
    assert row["family"] == "local" and row["ratios"][0] > 0
    assert set(row["figures"]) == {"raw, calls/s", "mesh, calls/s"}
    assert "call inside one host" in done.stdout


def test_what_idle_policies_cost_is_measured_in_one_process(tmp_path: Path) -> None:
    done = _run("policies", "--smoke", "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    told = {row["name"]: row for row in json.loads((tmp_path / "results" / "policies.json").read_text())["rows"]}
    assert {"retry", "breaker", "bulkhead", "pause", "fallback", "rate"} <= {name.partition(",")[0] for name in told}
    assert all(min(row["figures"].get("with", [1.0])) > 0 for row in told.values())


def test_an_unknown_family_is_named() -> None:
    done = _run("clals")
    assert done.returncode == 2 and "no family is called clals; there are calls" in done.stderr


def test_a_family_that_fails_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as program

    def measured(name: str, effort: Effort) -> Iterator[Row]:
        if name == "calls":
            raise RuntimeError("made to fail")
        yield Row("share", [0.5], 0.4, family=name)

    monkeypatch.setattr(program, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "calls", "curve"])
    assert program.main() == 1
    shown = capsys.readouterr()
    assert "share" in shown.out and "could not be measured: calls" in shown.err


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=240, check=False)
