"""`python -m benchmarks.policies`: what each policy of the caller's side saves when the callee is dead.

Two hosts and a registry; an agent offers 1,000 calls a second to an agent on the other host that takes them and never
answers (`hangs`), or whose inbox is full so that it refuses them at once (`refuses`), under one set of policies after
the other. A calm agent's calls to a third one are timed meanwhile. What they cost that have nothing to do is the family
`policies` of `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import calls

OFF: dict[str, Any] = {"retry": None, "breaker": None, "pause": None}
SHORT = 0.25
LONG = 30.0


@dataclass(frozen=True)
class Case:
    """A set of policies, and how long a caller waits."""

    name: str
    policies: dict[str, Any]
    patience: float = SHORT


CASES = {
    "hangs": (
        Case("none, 30 s deadline", OFF, LONG),
        Case("deadline 0.25 s", OFF),
        Case("deadline, retry", {**OFF, "retry": {}}),
        Case("deadline, breaker", {**OFF, "breaker": {}}),
        Case("deadline, retry, breaker", {**OFF, "breaker": {}, "retry": {}}),
    ),
    "refuses": (
        Case("none", OFF),
        Case("retry without budget", {**OFF, "retry": {"budget": 1.0, "reserve": 1_000_000}}),
        Case("retry with budget", {**OFF, "retry": {}}),
        Case("retry with budget, pause", {**OFF, "retry": {}, "pause": {}}),
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="calls offered a second")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each storm")
    parser.add_argument("--smoke", action="store_true", help="only show that the program runs")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rate, chosen.seconds = 100.0, 0.6
    print("| downstream | policies | calls | sent | waited in all, s | p99 wait, ms | calm call p50 / p99, ms "
          "| CPU caller / callee, s | answers |\n|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="mesh-policies-") as name:
        folder = Path(name)
        with _project(folder):
            for kind, cases in CASES.items():
                for number, case in enumerate(cases[:1] if chosen.smoke else cases):
                    print(_row(folder, kind, number, case, chosen), flush=True)



# --- storms


@contextmanager
def _project(folder: Path) -> Iterator[None]:
    """Run a mesh whose agents are those of all cases."""
    calls.write_project(folder, "curve", sample=0.0)
    for source in ("storm", "downstream"):
        (folder / f"{source}.py").write_text((calls.ROOT / "benchmarks" / "agents" / f"{source}.py").read_text())
    _agent(folder, "storm", "mainpc", "storm.py:Caller", {})
    for kind, cases in CASES.items():
        room = {"concurrency": 1, "inbox": 1} if kind == "refuses" else {"concurrency": 100_000, "inbox": 100_000}
        for number, case in enumerate(cases):
            _agent(folder, f"{kind}_{number}", "pc2", "downstream.py:Downstream", case.policies, room)
    with calls.started(folder):
        yield


def _agent(folder: Path, service: str, host: str, agent: str, policies: Any, limits: Any = None) -> None:
    told = {"class": agent, "hosts": [host], "policies": policies, **({"limits": limits} if limits else {})}
    (folder / "config" / "agents" / f"{service}.yaml").write_text(yaml.safe_dump(told))


def _row(folder: Path, kind: str, number: int, case: Case, chosen: argparse.Namespace) -> str:
    service = f"{kind}_{number}"
    callee = psutil.Process(next(row["pid"] for row in _mesh(folder, "status")["hosts"] if row["name"] == "pc2"))
    if kind == "refuses":  # two calls take the places there are
        fillers = [subprocess.Popen(_command(folder, "call", f"{service}.ask", "--timeout", "300"),
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
        while next(row for row in _mesh(folder, "agents") if row["service"] == service)["inbox"] < 1:
            time.sleep(0.1)
    before = sum(callee.cpu_times()[:2])
    answer = _mesh(folder, "call", "storm.storm", "--timeout", "120", "--data", json.dumps({
        "service": service, "rate": chosen.rate, "seconds": chosen.seconds, "patience": case.patience}))
    used = sum(callee.cpu_times()[:2]) - before
    if kind == "refuses":
        for filler in fillers:
            filler.kill()
            filler.wait()
    told = answer["result"]
    figures = _figures(folder, service)
    sent = told["calls"] + figures["mesh_retries_total"] - figures["mesh_breaker_refused_total"] \
        - figures["mesh_paused_total"]
    codes = ", ".join(f"{count} {code}" for code, count in sorted(told["codes"].items(), key=lambda one: -one[1]))
    return (f"| {kind} | {case.name} | {told['calls']} | {sent:.0f} | {told['waited_s']:.1f} "
            f"| {told['p99_wait_ms']:.1f} | {told['calm_p50_ms']:.2f} / {told['calm_p99_ms']:.1f} "
            f"| {told['cpu_s']:.2f} / {used:.2f} | {codes} |")


def _figures(folder: Path, service: str) -> dict[str, float]:
    """Return what the caller's host counted of a service."""
    port = yaml.safe_load((folder / "config" / "hosts.yaml").read_text())["hosts"]["mainpc"]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    found = {name: re.search(rf'^{name}\{{service="{service}"\}} (\S+)$', text, re.MULTILINE)
             for name in ("mesh_retries_total", "mesh_breaker_refused_total", "mesh_paused_total")}
    return {name: float(match[1]) if match else 0.0 for name, match in found.items()}


def _command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "mesh.cli", "--config", str(folder), *words]


def _mesh(folder: Path, *words: str) -> Any:
    done = subprocess.run([*_command(folder, *words), "--json"], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(calls.ROOT)})
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"mesh {' '.join(words)}: {done.stdout}{done.stderr}") from None


if __name__ == "__main__":
    main()
