"""`mesh errors`: groups of all hosts, one error with everything known of it, and a tail without gap or double."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.cli.following import Following, following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

GROUP = {"fingerprint", "severity", "service", "host", "type", "message", "count", "first_seen", "last_seen",
         "sample_id", "state"}
RECORD = {"id", "seq", "time", "severity", "host", "service", "operation", "type", "message", "trace_id", "fingerprint"}


def fail(mesh: Project, service: str, why: str) -> dict[str, Any]:
    """Make an agent fail and return the error its caller got."""
    error: dict[str, Any] = run(mesh.root, "call", f"{service}.blow", f"why={why}", "--json").json()["error"]
    return error


def groups(mesh: Project, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run(mesh.root, "errors", "--json", *arguments).json()
    assert all(set(group) >= GROUP for group in found)
    return found


def blown(mesh: Project, service: str) -> dict[str, Any]:
    return next(group for group in groups(mesh) if group["service"] == service and group["type"] == "ValueError")


def test_errors_of_all_hosts_are_grouped_with_the_latest_first(mesh: Project) -> None:
    fail(mesh, "lamp", "first")
    fail(mesh, "torch", "second")
    before = blown(mesh, "torch")
    error = fail(mesh, "torch", "third")
    after = blown(mesh, "torch")
    assert (after["count"] - before["count"], after["message"], after["sample_id"]) == (1, "third", error["error_id"])
    assert after["first_seen"] == before["first_seen"] and after["last_seen"] > before["last_seen"]
    assert (after["host"], after["severity"], after["state"]) == ("pc2", "error", "new")
    found = groups(mesh)
    assert found[0] == after and {group["host"] for group in found} == {"mainpc", "pc2"}
    assert [group["last_seen"] for group in found] == sorted((group["last_seen"] for group in found), reverse=True)


def test_the_groups_can_be_chosen_by_service_host_and_severity(mesh: Project) -> None:
    fail(mesh, "lamp", "a")
    fail(mesh, "torch", "b")
    assert {group["service"] for group in groups(mesh, "--service", "lamp")} == {"lamp"}
    assert {group["host"] for group in groups(mesh, "--host", "pc2")} == {"pc2"}
    assert {group["severity"] for group in groups(mesh, "--severity", "error")} <= {"error", "critical"}
    assert "error" not in {group["severity"] for group in groups(mesh, "--severity", "critical")}
    assert len(groups(mesh, "--limit", "1")) == 1


def test_people_see_the_message_below_each_group_and_how_to_see_more(mesh: Project) -> None:
    error = fail(mesh, "lamp", "because")
    lines = run(mesh.root, "errors", "--service", "lamp").out.splitlines()
    assert error["error_id"] in lines[1] and lines[2] == "    ValueError: because"
    assert lines[-1] == f"mesh errors show {error['error_id']} tells more of the first"
    assert run(mesh.root, "errors", "--service", "nobody").out == "no errors\n"


def test_one_error_is_shown_with_traceback_trace_and_what_was_done(mesh: Project) -> None:
    result = run(mesh.root, "call", "torch.blow", "why=because", "--json").json()
    error_id = result["error"]["error_id"]
    record = run(mesh.root, "errors", "show", error_id, "--json").json()
    assert set(record) >= RECORD | {"traceback", "context", "decision"}
    assert record["trace_id"] == result["trace_id"] and "raise ValueError(why)" in record["traceback"]
    text = run(mesh.root, "errors", "show", error_id).out
    assert f"error {error_id}" in text and "torch.blow on pc2" in text and f"trace {result['trace_id']}" in text
    assert "done about it: nothing" in text and "raise ValueError(why)" in text


def test_what_the_supervisor_did_about_a_crash_is_told(mesh: Project) -> None:
    run(mesh.root, "call", "torch.exit")
    wait_until(lambda: any("AgentExit" in group["type"] for group in groups(mesh, "--host", "pc2")), 10)
    decided = [run(mesh.root, "errors", "show", group["sample_id"], "--json").json()["decision"]
               for group in groups(mesh, "--service", "torch")]
    assert any(decision and decision.startswith("restart in ") for decision in decided)
    wait_until(lambda: mesh.call("torch.seen").get("ok"), 10)


def test_an_error_nobody_keeps_is_refused_with_where_to_look(mesh: Project) -> None:
    result = run(mesh.root, "errors", "show", "pc2-999999")
    assert result.code == 1 and "pc2 keeps no error pc2-999999" in result.err and "`mesh errors` lists" in result.err
    result = run(mesh.root, "errors", "show", "pc3-000001")
    assert result.code == 2 and "there is no host 'pc3'" in result.err


def messages(tail: Following) -> list[str]:
    return [row["message"] for row in tail.rows()]


def test_a_tail_begins_with_history_goes_on_live_and_shows_each_error_once(mesh: Project) -> None:
    old, new = f"old {uuid4()}", f"new {uuid4()}"
    fail(mesh, "lamp", f"{old} lamp")
    fail(mesh, "torch", f"{old} torch")
    with following(mesh, "errors", "tail", "--json", until=f"{old} torch") as tail:
        fail(mesh, "torch", f"{new} torch")
        fail(mesh, "lamp", f"{new} lamp")
        wait_until(lambda: f"{new} lamp" in messages(tail) and f"{new} torch" in messages(tail), 10)
        rows = tail.rows()
        assert all(set(row) >= RECORD for row in rows)
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids))
        for host in ("mainpc", "pc2"):
            numbers = [row["seq"] for row in rows if row["host"] == host]
            assert numbers == sorted(numbers)
            assert all(after - before == 1 + row["skipped"] for before, after, row in zip(
                numbers, numbers[1:], [row for row in rows if row["host"] == host][1:], strict=False))
        assert tail.interrupt() in (0, 130) and "Traceback" not in tail.text


def test_a_tail_says_when_there_is_nothing_yet(mesh: Project) -> None:
    result = run(mesh.root, "errors", "tail", "--timeout", "0.7", "--service", "request_coordinator")
    assert result.out == "" and result.err.startswith("no errors so far; new ones come here as they happen")


def test_a_tail_can_be_of_one_service_host_or_severity(mesh: Project) -> None:
    mark = f"mark {uuid4()}"
    fail(mesh, "torch", mark)
    for chosen in (["--service", "lamp"], ["--host", "mainpc"], ["--severity", "critical"]):
        assert mark not in run(mesh.root, "errors", "tail", "--timeout", "0.7", *chosen).out
    assert mark in run(mesh.root, "errors", "tail", "--timeout", "0.7", "--host", "pc2", "--service", "torch").out


def test_people_see_a_line_per_error_with_its_id(mesh: Project) -> None:
    error = fail(mesh, "lamp", "because")
    text = run(mesh.root, "errors", "tail", "--timeout", "0.7").out
    assert f"error  lamp.blow@mainpc  ValueError: because  [{error['error_id']}]\n" in text
