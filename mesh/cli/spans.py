"""The way of one request through the mesh, read from the spans that each host kept of its trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.cli.operator import Operator

MOST = 64
PATIENCE = 2.0

Row = Mapping[str, Any]


async def spans_of(operator: Operator, trace_id: str, hosts: Iterable[str]) -> dict[str, Any]:
    """Return what each host kept of one trace; one that does not answer has its error there."""
    return await operator.ask_each("supervisor.spans", hosts, {"trace_id": trace_id}, limit=PATIENCE)


async def path_in(operator: Operator, trace_id: str, hosts: Iterable[str]) -> list[str]:
    """Return the path of one trace, as far as the hosts that answer know it."""
    answers = await spans_of(operator, trace_id, hosts)
    return path_of(row for answer in answers.values() if isinstance(answer, list) for row in answer)


def path_of(spans: Iterable[Row]) -> list[str]:
    """Return `service@host` in the order of first execution, each once, at most 64; who merely called is no place.

    The clocks of two hosts may differ, so no span counts as earlier than the one that called it.
    """
    known = {span["span_id"]: span for span in spans if span["kind"] != "call"}
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
