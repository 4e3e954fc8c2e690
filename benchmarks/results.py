"""The results of a run as JSON: the machine, each row with its rounds, the curves; what the plots are drawn from."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import zmq

from benchmarks.row import Curve, Row


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to judge a figure."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "system": platform.platform(),
        "processor": _processor(), "cores": len(os.sched_getaffinity(0)), "load": list(os.getloadavg()),
        "python": platform.python_version(), "pyzmq": zmq.pyzmq_version(), "libzmq": zmq.zmq_version(),
        "msgpack": _version("msgpack"), "pydantic": _version("pydantic"), "uvloop": _version("uvloop"),
    }


def document(before: Mapping[str, Any], rounds: int, found: Sequence[Row | Curve]) -> dict[str, Any]:
    """Return the results of a run that began when `machine()` was `before`."""
    return {
        "machine": {**before, "load_before": before["load"], "load_after": list(os.getloadavg())}, "rounds": rounds,
        "rows": [{**asdict(row), "median": row.median, "verdict": row.verdict, "aim_reached": row.aim_reached}
                 for row in found if isinstance(row, Row)],
        "curves": [asdict(curve) for curve in found if isinstance(curve, Curve)],
    }


def write(file: Path, results: Mapping[str, Any]) -> None:
    """Write the results."""
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def read_curves(files: Sequence[Path]) -> list[Curve]:
    """Return the curves of several runs."""
    return [Curve(**curve) for file in files for curve in json.loads(file.read_text())["curves"]]


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a run."""
    known = {one.name for one in fields(Row)}
    return [Row(**{key: value for key, value in row.items() if key in known})
            for row in json.loads(file.read_text())["rows"]]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
