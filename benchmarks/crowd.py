"""A project of any number of agents: those that exist, and as many copies of two of ordinary size as are asked for.

The copies are files of their own, with classes, models, names and a module beside them of their own, so that each is
read, compiled, run and checked for itself; every fourth keeps a database, as among those that exist.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from benchmarks.calls import free_ports

ROOT = Path(__file__).resolve().parent.parent
HOSTS = ("mainpc", "pc2")
MAINPC_SHARE = 58 / 84
SIDES = ("left", "right", "upper", "lower", "inner", "outer", "front", "rear", "night", "day")
MATTERS = ("posture", "speech", "gaze", "mood", "route", "budget", "climate", "garden", "kitchen", "traffic", "sleep",
           "music", "printer", "battery", "camera", "calendar")


def write_crowd(folder: Path, agents: int) -> None:
    """Write a project with so many agents into an empty folder, in the shape of the catalogue: 58 of 84 on mainpc.

    Up to 14 those are agents that exist, those that others do not need left out first.
    """
    shutil.copytree(ROOT / "agents", folder / "agents", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "config", folder / "config")
    text = (folder / "config" / "hosts.yaml").read_text()
    wanted = len(re.findall(r"(?<=port: )\d+", text))
    ports = iter(free_ports(wanted))
    (folder / "config" / "hosts.yaml").write_text(re.sub(r"(?<=port: )\d+", lambda _: str(next(ports)), text))
    existing = sorted((folder / "config" / "agents").glob("*.yaml"))
    for surplus in existing[agents:]:
        surplus.unlink()
    on_mainpc = sum("hosts: [mainpc]" in path.read_text() for path in existing[:agents])
    for number in range(agents - len(existing)):
        host = HOSTS[on_mainpc >= MAINPC_SHARE * agents]
        on_mainpc += host == "mainpc"
        _write_agent(folder, number, host)


def _write_agent(folder: Path, number: int, host: str) -> None:
    """Write one copy, its module of rules and its configuration."""
    template = "keeper" if number % 4 == 3 else "assessor"
    service = f"{SIDES[number % 10]}_{MATTERS[number // 10 % 16]}_{template}" + (f"_{number}" if number >= 160 else "")
    class_name = "".join(part.capitalize() for part in service.split("_"))
    source = (ROOT / "benchmarks" / "agents" / f"{template}.py").read_text()
    source = source.replace("benchmarks.agents.scoring", f"agents_{host}.{service}_scoring")
    source = source.replace(template.capitalize(), class_name).replace(f"{template}.", f"{service}.")
    (folder / "agents" / host / f"{service}.py").write_text(source)
    shutil.copy(ROOT / "benchmarks" / "agents" / "scoring.py", folder / "agents" / host / f"{service}_scoring.py")
    (folder / "config" / "agents" / f"{service}.yaml").write_text(
        f"class: agents/{host}/{service}.py:{class_name}\nhosts: [{host}]\n"
        "depends_on: [{service: memory_orchestrator, soft: true}]\nlimits: {inbox: 512, concurrency: 32}\n"
    )
