"""Other systems in the benchmarks' table: what cannot be measured here is left out, and it is said why."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.rivals import __main__ as rivals

NATS = next(rival for rival in rivals.RIVALS if rival.name.startswith("NATS"))


def test_every_rival_has_its_script() -> None:
    assert [rival.name for rival in rivals.RIVALS if not (rivals.HERE / rival.script).exists()] == []


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(rivals.Missing, match="it needs no-such-server"):
        rivals._installed(replace(NATS, programs=("no-such-server",)), tmp_path)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no such thing')\n")
    with pytest.raises(rivals.Missing, match="it does not start: no such thing"), \
            rivals._serving(NATS, [sys.executable, str(script)]):
        pass


def test_figures_come_from_the_calling_side(tmp_path: Path) -> None:
    script = tmp_path / "rival.py"
    script.write_text("""import json, sys
if sys.argv[1] == "serve":
    print(sys.argv[2], flush=True)
    sys.stdin.read()
elif sys.argv[3] == "13":
    raise SystemExit("out of luck")
else:
    print(json.dumps({"calls_per_second": float(sys.argv[3]), "p50": float(sys.argv[4])}))
""")
    with rivals._serving(NATS, [sys.executable, str(script)]) as client:
        assert rivals._measured(client, 128, 5) == (128.0, 5.0)
        with pytest.raises(rivals.Missing, match="its calls fail: out of luck"):
            rivals._measured(client, 13, 5)
