"""Lets tests import agents and their shared data by the names under which a host exposes them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

AGENTS = Path(__file__).resolve().parents[2] / "agents"

for folder in ("shared", "mainpc", "pc2"):
    name = f"agents_{folder}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(AGENTS / folder)]
        sys.modules[name] = package
