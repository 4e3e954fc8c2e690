"""`mesh trace` shows one request across both hosts, from its id, its error or its traceparent."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.tracing import Trace
from tests.cli.runner import Result, run
from tests.project import Project


def asked(mesh: Project, *words: str) -> dict[str, Any]:
    """Call the coordinator, which calls on both hosts, as a sampled request; returns the CLI's answer."""
    done = run(mesh.root, "call", "request_coordinator.submit_text", "data=hello", "user_id=u", "session_id=s",
               "--trace", "--json", *words)
    answer: dict[str, Any] = done.json()
    assert answer["ok"], answer
    return answer


def lines(done: Result) -> list[str]:
    return done.out.splitlines()


def test_a_request_across_two_hosts_is_one_tree(mesh: Project) -> None:
    trace_id = asked(mesh)["trace_id"]
    told = run(mesh.root, "trace", trace_id, "--json").json()
    assert told["trace_id"] == trace_id and set(told["hosts"]) == {"mainpc", "pc2"} and told["missing"] == {}
    assert [(row["depth"], row["service"], row["operation"], row["host"], row["kind"]) for row in told["spans"]] == [
        (0, "request_coordinator", "submit_text", "mainpc", "answer"), (1, "lamp", "shine", "mainpc", "answer"),
        (1, "torch", "shine", "pc2", "answer"), (1, "lamp", "shine", "mainpc", "answer"),
    ]
    root, *calls = told["spans"]
    for row in calls:
        assert row["parent_id"] == root["span_id"] and row["hole"] is None
        assert root["start_ms"] <= row["start_ms"] <= row["work_start_ms"]
        assert row["work_ms"] <= row["duration_ms"] <= root["duration_ms"]


def test_the_first_digits_suffice_and_people_see_bars(mesh: Project) -> None:
    trace_id = asked(mesh)["trace_id"]
    done = run(mesh.root, "trace", trace_id[:8])
    assert done.code == 0 and done.err == ""
    first, *rest = lines(done)
    assert first.startswith(f"trace {trace_id}")
    assert [line.split()[:2] for line in rest[:3]] == [
        ["request_coordinator.submit_text", "mainpc"], ["lamp.shine", "mainpc"], ["torch.shine", "pc2"],
    ]
    assert rest[0].count("█") == 40 and all("█" in line for line in rest[:4])


def test_an_error_is_found_by_its_id_though_nobody_sampled_it(mesh: Project) -> None:
    done = run(mesh.root, "call", "torch.blow", "why=dark", "--json").json()
    error_id = done["error"]["error_id"]
    told = run(mesh.root, "trace", error_id, "--json").json()
    assert told["trace_id"] == done["trace_id"]
    assert [(row["service"], row["operation"], row["host"], row["error"]) for row in told["spans"]] == [
        ("torch", "blow", "pc2", "remote_failure")
    ]
    shown = run(mesh.root, "trace", error_id).out
    assert "remote_failure: The operation raised" in shown


def test_a_traceparent_is_taken_as_it_is_pasted(mesh: Project) -> None:
    trace_id = asked(mesh)["trace_id"]
    header = Trace(bytes.fromhex(trace_id), b"\x01" * 8, True).to_traceparent()
    assert run(mesh.root, "trace", header, "--json").json()["trace_id"] == trace_id


def test_a_call_that_waited_for_its_turn_says_so(mesh: Project) -> None:
    waited, attempts = 0.0, 0
    while waited == 0.0 and attempts < 10:  # on a busy machine the second call may come when the first has ended
        attempts += 1
        slow = mesh.spawn("mesh.cli", "call", "lamp.glow", "seconds=1.0")  # concurrency is 1
        while slow.poll() is None and waited == 0.0:
            answer = run(mesh.root, "call", "lamp.shine", "name=x", "--trace", "--json").json()
            waited = run(mesh.root, "trace", answer["trace_id"], "--json").json()["spans"][0]["waited_ms"]
        assert slow.wait(20) == 0
    assert waited > 0.0


def test_without_an_id_the_latest_traces_are_listed(mesh: Project) -> None:
    answer = asked(mesh)
    rows = run(mesh.root, "trace", "--json").json()
    row = next(row for row in rows if row["trace_id"] == answer["trace_id"])
    assert (row["service"], row["operation"], row["hosts"]) == ("request_coordinator", "submit_text", ["mainpc", "pc2"])
    assert (row["spans"], row["error"], row["caller"]) == (7, None, "operator")
    done = run(mesh.root, "trace")
    assert answer["trace_id"][:12] in done.out and "mesh trace" in lines(done)[-1]


def test_the_list_can_be_of_failures_and_by_duration(mesh: Project) -> None:
    asked(mesh)
    failed = run(mesh.root, "call", "torch.blow", "why=x", "--json").json()["trace_id"]
    rows = run(mesh.root, "trace", "--failed", "--json").json()
    assert failed in [row["trace_id"] for row in rows] and all(row["error"] for row in rows)
    durations = [row["duration_ms"] for row in run(mesh.root, "trace", "--slowest", "--limit", "3", "--json").json()]
    assert durations == sorted(durations, reverse=True) and len(durations) <= 3


@pytest.mark.parametrize(("wanted", "code", "words"), [
    ("abc", 2, "is no trace id"), ("not-hex-at-all", 2, "traceparent is"), ("f" * 32, 1, "no host keeps a span"),
    ("mainpc-999999", 1, "keeps no error mainpc-999999"),
])
def test_what_is_no_trace_is_said_in_words(mesh: Project, wanted: str, code: int, words: str) -> None:
    done = run(mesh.root, "trace", wanted)
    assert done.code == code and words in done.err


def test_a_sampled_call_says_how_to_see_it(mesh: Project) -> None:
    done = run(mesh.root, "call", "lamp.shine", "name=x", "--trace")
    assert "`mesh trace " in done.err and "shows its way" in done.err
