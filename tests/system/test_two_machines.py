"""Two machines with addresses of their own: keys pasted, calls across, the cable cut, ports closed, other files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.eventually import wait_until
from tests.machines import Machine, run_both, two_machines
from tests.system.conftest import ECHO, NEAR

SUSPECT_WITHIN = 3.0
DEAD_WITHIN = 5.0
SLACK = 2.0  # of a machine that runs other tests

Row = dict[str, Any]
Pair = tuple[Machine, Machine]


def furnish(pair: Pair) -> None:
    """Give both machines the same agents: `near` on mainpc, which calls `far` on pc2."""
    for each in pair:
        each.agent("near", NEAR, "mainpc")
        each.agent("far", ECHO, "pc2")


def exchange_keys(pair: Pair) -> None:
    """Follow the guide: each machine's line into the file of both."""
    lines = [each.key_line() for each in pair]
    for each in pair:
        for line in lines:
            each.paste(line)


@pytest.fixture
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two furnished machines that know nothing of each other's keys; nothing runs."""
    with two_machines(tmp_path_factory.mktemp("strangers")) as pair:
        furnish(pair)
        yield pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two machines whose mesh runs; who uses it leaves it well."""
    with two_machines(tmp_path_factory.mktemp("machines")) as made:
        furnish(made)
        exchange_keys(made)
        run_both(made)
        yield made


def call(machine: Machine, target: str, **arguments: Any) -> Row:
    answer: Row = machine.json("call", target, "--data", json.dumps(arguments), "--timeout", "5")
    return answer


def checks(machine: Machine, check: str) -> list[Row]:
    return [row for row in machine.json("doctor")["checks"] if row["check"] == check]


def states(machine: Machine) -> dict[str, str]:
    return {row["name"]: row["state"] for row in machine.json("status")["hosts"]}


def both_well(pair: Pair) -> bool:
    return all(states(each) == {"mainpc": "ok", "pc2": "ok"} for each in pair) and all(
        call(each, "near.ask", text="x")["ok"] for each in pair)


# --- joining ----------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_refused_with_the_command_and_pasted_ones_let_in(strangers: Pair) -> None:
    mainpc, pc2 = strangers
    refused = pc2.mesh("up", "--host", "pc2")
    assert refused.returncode == 2 and "run `mesh keys show` on mainpc and paste the line" in refused.stderr
    pc2.paste(mainpc.key_line())  # one of two: pc2 knows mainpc, which still refuses pc2
    first, second = mainpc.start(), pc2.start()
    wait_until(lambda: "will be refused until its key is known here: run `mesh keys show` on pc2" in
               mainpc.output(first), 30)
    wait_until(lambda: any("10." in row["message"] and "mesh keys show" in row["hint"]
                           for row in checks(mainpc, "strangers")), 40)
    unknown = [row for row in checks(mainpc, "keys") if row["verdict"] == "failed"]
    assert [row["hosts"] for row in unknown] == [["mainpc", "pc2"]] and "keys show --host pc2" in unknown[0]["hint"]
    mainpc.paste(pc2.key_line())
    unread = [row for row in checks(mainpc, "keys") if row["verdict"] == "failed"]
    assert len(unread) == 1 and "restart mainpc" in unread[0]["hint"]
    mainpc.stop(first)
    again = mainpc.start()
    mainpc.ready(again)
    wait_until(lambda: both_well(strangers), 30)
    pc2.stop(second)


def test_calls_go_across_from_either_machine(pair: Pair) -> None:
    for machine in pair:
        answer = call(machine, "near.ask", text="over the cable")
        assert answer["ok"] and answer["result"] == "over the cable" and answer["host"] == "mainpc"
        assert call(machine, "far.echo", text="x")["host"] == "pc2"


def test_the_doctor_finds_both_directions_well_from_either_machine(pair: Pair) -> None:
    for machine in pair:
        told = machine.json("doctor")
        assert told["verdict"] == "ok", [row for row in told["checks"] if row["verdict"] != "ok"]
        assert [row["hosts"] for row in told["checks"] if row["check"] == "links"] == [["mainpc", "pc2"],
                                                                                    ["pc2", "mainpc"]]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def seconds_until(mainpc: Machine, words: str, since: float) -> float:
    """Return how long after `since` the registry wrote down `words`; waits for it."""
    log = mainpc.home / "mainpc" / "logs" / "registry.log"

    def written() -> float | None:
        rows = (json.loads(line) for line in log.read_text().splitlines() if words in line)
        times = [datetime.fromisoformat(row["time"]).timestamp() for row in rows]
        return next((moment - since for moment in times if moment > since), None)

    return wait_until(written, 20)


def test_a_cut_cable_is_noticed_and_a_mended_one_too(pair: Pair) -> None:
    mainpc, pc2 = pair
    cut = time.time()
    pc2.cable(plugged=False)
    try:
        assert seconds_until(mainpc, "host pc2 is suspect", cut) <= SUSPECT_WITHIN + SLACK
        assert seconds_until(mainpc, "host pc2 is dead", cut) <= DEAD_WITHIN + SLACK
        answer = call(mainpc, "far.echo", text="x")
        assert answer["error"]["code"] == "unavailable" and "pc2" in answer["error"]["message"]
        assert call(pc2, "far.echo", text="alone")["ok"]
        failed = [row for row in mainpc.json("doctor")["checks"] if row["verdict"] == "failed"]
        assert {row["check"] for row in failed} >= {"hosts", "links"}
        assert "is the machine on and the cable in" in str(failed) or "route" in str(failed)
    finally:
        pc2.cable(plugged=True)
    wait_until(lambda: both_well(pair), 30)


def test_a_closed_port_is_named_by_the_doctor_on_both_machines(pair: Pair) -> None:
    mainpc, pc2 = pair
    pc2.block(7420)
    try:
        wait_until(lambda: any(row["verdict"] == "failed" for row in checks(mainpc, "links")), 30)
        for machine in pair:
            broken = [row for row in checks(machine, "links") if row["verdict"] == "failed"]
            assert [row["hosts"] for row in broken] == [["mainpc", "pc2"]]
            assert "open TCP port 7420 in its firewall" in broken[0]["hint"]
        # each attempt waits 2 s for a connection, so the time of the third one may be over first
        assert call(pc2, "near.ask", text="x")["error"]["code"] in ("unreachable", "unavailable", "deadline_exceeded")
    finally:
        pc2.unblock()
    wait_until(lambda: both_well(pair), 30)


def test_a_closed_registry_port_is_named_too(pair: Pair) -> None:
    mainpc, pc2 = pair
    mainpc.block(7400)
    try:
        wait_until(lambda: any(row["verdict"] == "failed" for row in checks(pc2, "registry")), 30)
        broken = next(row for row in checks(pc2, "registry") if row["verdict"] == "failed")
        assert broken["hosts"] == ["pc2"] and "TCP port 7400" in broken["hint"]
    finally:
        mainpc.unblock()
    wait_until(lambda: both_well(pair), 30)


def test_another_state_of_the_project_is_shown_by_status(strangers: Pair) -> None:
    exchange_keys(strangers)
    mainpc, pc2 = strangers
    pc2.agent("far", ECHO + "\n# newer\n", "pc2")
    run_both(strangers)
    wait_until(lambda: all(row["revision"] for row in mainpc.json("status")["hosts"]), 20)
    mismatch = mainpc.json("status")["mismatches"]
    assert [row["field"] for row in mismatch] == ["revision"]
    assert mismatch[0]["hosts"]["mainpc"] != mismatch[0]["hosts"]["pc2"]
    assert "revision" in mainpc.mesh("status").stdout.splitlines()[0]
    assert [row["verdict"] for row in checks(pc2, "versions")] == ["warning"]
