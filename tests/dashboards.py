"""The board and the alert rules that are shipped, as tests read them: every expression with where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "mesh.rules.yml"
BOARD = DEPLOY / "grafana" / "mesh.json"

_VARIABLES = {"$__rate_interval": "1m", "$host": ".*", "$service": ".*"}


def rules() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return every panel of the board, rows included."""
    found: list[dict[str, Any]] = json.loads(BOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield title and expression of every alert and every query of the board, Grafana's variables filled in."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], plain(target["expr"])


def plain(expression: str) -> str:
    """Return an expression of the board as Prometheus takes it."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every metric of an expression with the labels it is chosen by."""
    for name, _, inside in re.findall(r"\b((?:mesh|process|python)_\w+|up)\b(\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*[=!]~?", inside))
