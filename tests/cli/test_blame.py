"""`mesh blame`: who holds a loop is shown with the line, and put on the error bus once with a count."""

from __future__ import annotations

from typing import Any

from mesh.cli.blame import ranked
from mesh.errors import Unavailable
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

AGENT = {"service", "host", "instance", "isolation", "used_ms", "share", "used_1m_ms", "share_1m", "stolen_ms",
         "stolen_1m_ms", "holds", "places"}
PLACE = {"operation", "function", "file", "line", "inside", "kind", "count", "total_ms", "worst_ms"}
HOST = {"host", "window_s", "minute_s", "limit_ms", "loop_cpu_ms", "agents_ms"}


def row(mesh: Project, service: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = run(mesh.root, "blame", "--json").json()["agents"]
    return next(each for each in found if each["service"] == service)


def test_who_holds_the_loop_is_named_with_line_count_and_time(rough: Project) -> None:
    for _ in range(2):
        run(rough.root, "call", "torch.doze", "seconds=0.8")
    torch = wait_until(lambda: (now := row(rough, "torch"))["holds"] == 2 and now, 10)
    assert set(torch) == AGENT and set(torch["places"][0]) == PLACE
    assert torch["stolen_ms"] >= 1000 and torch["used_ms"] >= 1600 and torch["host"] == "pc2"
    (place,) = torch["places"]
    assert (place["operation"], place["function"], place["kind"], place["count"]) == ("doze", "doze", "waiting", 2)
    source = (rough.root / place["file"]).read_text().splitlines()
    assert place["file"] == "agents/torch.py" and "time.sleep(seconds)" in source[place["line"] - 1]
    shown = run(rough.root, "blame", "--host", "pc2").out
    assert shown.splitlines()[1].startswith("torch")
    assert f"2 x waiting in doze at agents/torch.py:{place['line']}" in shown
    assert run(rough.root, "blame", "--json").json()["agents"][0]["service"] == "torch"


def test_the_error_bus_hears_of_a_place_once_a_minute_with_the_count(rough: Project) -> None:
    before = row(rough, "lamp")["holds"]
    for _ in range(3):
        run(rough.root, "call", "lamp.doze", "seconds=0.6")
    wait_until(lambda: row(rough, "lamp")["holds"] == before + 3, 10)
    groups = [group for group in run(rough.root, "errors", "--json", "--service", "lamp").json()
              if "held the event loop of mainpc" in group["message"]]
    (group,) = groups
    assert (group["severity"], group["count"]) == ("warning", 1)
    assert "lamp (doze) held" in group["message"] and "isolation: thread" in group["message"]
    detail = run(rough.root, "errors", "show", group["sample_id"], "--json").json()
    assert detail["operation"] == "doze" and detail["context"]["kind"] == "waiting"


def test_every_host_tells_the_time_its_figures_are_of(rough: Project) -> None:
    hosts = run(rough.root, "blame", "--json").json()["hosts"]
    assert [host["host"] for host in hosts] == ["mainpc", "pc2"]
    assert all(set(host) == HOST and host["limit_ms"] == 250 and host["window_s"] > 0 for host in hosts)


def test_a_host_that_is_not_there_is_a_wrong_call(rough: Project) -> None:
    result = run(rough.root, "blame", "--host", "pc3")
    assert result.code == 2 and "there is no host 'pc3'" in result.err


def test_the_worst_of_all_hosts_comes_first_and_one_that_does_not_answer_is_left_out() -> None:
    def agent(service: str, stolen: float, used: float) -> dict[str, Any]:
        return {"service": service, "stolen_ms": stolen, "used_ms": used}

    answers = {
        "mainpc": {"host": "mainpc", "agents": [agent("a", 0.0, 5.0), agent("b", 0.0, 9.0)]},
        "pc2": {"host": "pc2", "agents": [agent("c", 10.0, 1.0)]},
        "pc3": Unavailable("gone"),
    }
    found = ranked(answers)
    assert [each["service"] for each in found["agents"]] == ["c", "b", "a"]
    assert found["hosts"] == [{"host": "mainpc"}, {"host": "pc2"}]
