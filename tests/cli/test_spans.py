"""The path of a request is the order in which services first worked on it."""

from __future__ import annotations

from typing import Any

from mesh.cli.spans import path_of


def span(number: int, service: str, host: str, started: float, parent: int = 0,
         kind: str = "answer") -> dict[str, Any]:
    return {"span_id": f"{number:016x}", "parent_id": f"{parent:016x}", "service": service, "host": host,
            "started": started, "kind": kind}


def test_the_path_is_in_order_of_start_and_names_each_place_once() -> None:
    spans = [span(3, "memory", "pc2", 3.0, 1), span(1, "front", "mainpc", 1.0), span(2, "nlu", "mainpc", 2.0, 1),
             span(4, "nlu", "mainpc", 4.0, 1)]
    assert path_of(spans) == ["front@mainpc", "nlu@mainpc", "memory@pc2"]


def test_one_service_on_two_hosts_is_two_places() -> None:
    assert path_of([span(1, "nlu", "mainpc", 1.0), span(2, "nlu", "pc2", 2.0, 1)]) == ["nlu@mainpc", "nlu@pc2"]


def test_a_clock_that_is_behind_does_not_put_a_call_before_its_caller() -> None:
    spans = [span(1, "front", "mainpc", 100.0), span(2, "memory", "pc2", 40.0, 1), span(3, "cache", "pc2", 40.1, 2)]
    assert path_of(spans) == ["front@mainpc", "memory@pc2", "cache@pc2"]


def test_the_supervisor_is_left_out_and_the_path_ends_at_64() -> None:
    spans = [span(1, "supervisor", "mainpc", 0.5), *(span(2 + at, f"s{at}", "pc2", 1.0 + at) for at in range(70))]
    path = path_of(spans)
    assert path[0] == "s0@pc2" and len(path) == 64


def test_spans_that_name_each_other_as_parent_end_the_search() -> None:
    assert path_of([span(1, "a", "pc2", 1.0, 2), span(2, "b", "pc2", 2.0, 1)]) != []


def test_who_only_called_is_no_place() -> None:
    assert path_of([span(1, "nlu", "mainpc", 1.0, 0, "call"), span(1, "nlu", "pc2", 1.1)]) == ["nlu@pc2"]
