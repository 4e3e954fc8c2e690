"""The way of one request through the mesh, read from the spans that each host kept of its trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.cli.operator import Operator

MOST = 64
PATIENCE = 2.0

Row = Mapping[str, Any]


async def spans_of(operator: Operator, trace_id: str, hosts: Iterable[str]) -> list[Row]:
    """Return what the hosts kept of one trace; one that does not answer is left out."""
    answers = await operator.ask_each("supervisor.spans", hosts, {"trace_id": trace_id}, limit=PATIENCE)
    return [span for answer in answers.values() if isinstance(answer, list) for span in answer]


def path_of(spans: Iterable[Row]) -> list[str]:
    """Return `service@host` in the order of first execution, each once, at most 64.

    The clocks of two hosts may differ, so no span counts as earlier than the one that called it.
    """
    known = {span["span_id"]: span for span in spans}
    ordered = sorted(known.values(), key=lambda span: _place(span, known))
    path = (f"{span['service']}@{span['host']}" for span in ordered if span["service"] != "supervisor")
    return list(dict.fromkeys(path))[:MOST]


def _place(span: Row, known: Mapping[str, Row]) -> tuple[float, int]:
    """Return when a span began, no earlier than any of its callers, and how many callers it has."""
    started, depth = float(span["started"]), 0
    while (caller := known.get(span["parent_id"])) is not None and depth < len(known):
        span, depth = caller, depth + 1
        started = max(started, float(span["started"]))
    return started, depth
