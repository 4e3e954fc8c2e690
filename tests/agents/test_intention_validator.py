"""Which commands are let through, and that repeated tries lock a user out for as long as the rule says, no longer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from agents_mainpc.intention_validator import PATTERNS, IntentionValidator

from mesh import PermissionDenied
from mesh.testing import InMemoryMesh, in_mesh

HOUR = 3600.0


async def judged(mesh: InMemoryMesh, command: str = "delete_file", **arguments: Any) -> str:
    """Return the rule that refuses the command, "" if none does."""
    given = {"parameters": {"file_path": "a.txt"}, "user_id": "ann", **arguments}
    try:
        await mesh.request("intention_validator.validate_command", command=command, **given)
    except PermissionDenied as refusal:
        return str(refusal.details["rule"])
    return ""


@in_mesh
async def test_known_commands_with_their_parameters_pass_and_others_are_refused(mesh: InMemoryMesh) -> None:
    await mesh.add("intention_validator", IntentionValidator)
    assert await judged(mesh) == ""
    assert await judged(mesh, "format_disk") == "unknown_command"
    assert await judged(mesh, parameters={}) == "missing_parameters"
    with pytest.raises(PermissionDenied, match="needs file_path"):
        await mesh.request("intention_validator.validate_command", command="delete_file", user_id="bob")


@pytest.mark.parametrize(
    ("profile", "highest"), [("admin", 5), ("premium", 3), ("standard", 3), ("guest", 1), ("king", 0)]
)
def test_each_profile_passes_up_to_its_risk(profile: str, highest: int) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        await mesh.add("intention_validator", IntentionValidator)
        for name, pattern in PATTERNS.items():
            parameters = dict.fromkeys(pattern.required_params, "x")
            rule = await judged(mesh, name, parameters=parameters, profile=profile)
            assert rule == ("" if pattern.risk_level <= highest else "risk"), name

    scenario()


@in_mesh
async def test_more_than_five_failures_in_a_day_lock_out_and_knocking_does_not_prolong_it(mesh: InMemoryMesh) -> None:
    await mesh.add("intention_validator", IntentionValidator)
    for _ in range(6):
        assert await judged(mesh, parameters={}) == "missing_parameters"
        await mesh.clock.advance(HOUR)
    for _ in range(17):
        assert await judged(mesh) == "locked_out"
        await mesh.clock.advance(HOUR)
    assert await judged(mesh, user_id="bob") == ""
    assert await judged(mesh) == "locked_out"
    await mesh.clock.advance(1.1 * HOUR)  # the first failure is a day old now, although the user kept trying
    assert await judged(mesh) == ""


@in_mesh
async def test_more_than_ten_tries_in_an_hour_are_refused_until_the_first_is_an_hour_old(mesh: InMemoryMesh) -> None:
    await mesh.add("intention_validator", IntentionValidator)
    assert [await judged(mesh) for _ in range(12)] == [""] * 10 + ["locked_out"] * 2
    await mesh.clock.advance(HOUR + 1)
    assert await judged(mesh) == ""


@in_mesh
async def test_every_try_is_kept_newest_first_in_utc_also_over_a_restart(mesh: InMemoryMesh) -> None:
    await mesh.add("intention_validator", IntentionValidator)
    await judged(mesh)
    await mesh.clock.advance(1)
    await judged(mesh, "format_disk", user_id="bob")
    await mesh.restart("intention_validator")
    history = (await mesh.request("intention_validator.get_validation_history"))["history"]
    assert [(each["command"], each["result"]) for each in history] == [("format_disk", False), ("delete_file", True)]
    assert history[0]["timestamp"] == "2027-01-15T08:00:01+00:00"
    assert history[1]["parameters"] == {"file_path": "a.txt"}
    of_ann = await mesh.request("intention_validator.get_validation_history", user_id="ann")
    assert [each["command"] for each in of_ann["history"]] == ["delete_file"]


@in_mesh
async def test_without_a_usable_record_nothing_is_let_through(mesh: InMemoryMesh, tmp_path: Path) -> None:
    record = tmp_path / "tries.db"
    await mesh.add("intention_validator", IntentionValidator, settings={"database": str(record)})
    with closing(sqlite3.connect(record)) as connection:
        connection.execute("DROP TABLE validation_history")
    assert await judged(mesh) == "no_record"
    assert [each.service for each in mesh.reports] == ["intention_validator"]


@in_mesh
async def test_it_lists_the_commands_it_knows(mesh: InMemoryMesh) -> None:
    await mesh.add("intention_validator", IntentionValidator)
    patterns = (await mesh.request("intention_validator.list_command_patterns"))["patterns"]
    assert {each["command"]: each["risk_level"] for each in patterns} == {
        "delete_file": 3, "modify_system": 4, "access_credentials": 5, "execute_system_command": 4,
        "modify_permissions": 5, "access_sensitive_data": 4,
    }
