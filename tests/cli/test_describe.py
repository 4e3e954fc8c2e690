"""`mesh describe`: where a service runs, what it can be asked, the config in force and where each value is from."""

from __future__ import annotations

from tests.cli.runner import run
from tests.project import Project


def test_the_document_has_operations_with_schemas_and_settings_with_origins(mesh: Project) -> None:
    told = run(mesh.root, "describe", "torch", "--json").json()
    assert (told["service"], told["host"], told["purpose"], told["required"]) == ("torch", "pc2", "Gives light.", False)
    shine = next(row for row in told["operations"] if row["name"] == "shine")
    assert shine["arguments"]["properties"]["times"] == {"default": 1, "title": "Times", "type": "integer"}
    assert shine["idempotent"] is True and shine["result"]["type"] == "object"
    (colour,) = told["settings"]
    assert (colour["key"], colour["value"]) == ("colour", "red")
    assert colour["origin"].startswith("config/agents/torch.yaml:")
    assert [row["pattern"] for row in told["subscriptions"]] == ["lamp.switch"]
    assert [(row["host"], row["state"]) for row in told["instances"]] == [("pc2", "ready")]
    assert told["limits"]["concurrency"] == 1
    assert told["supervision"]["restart"] == "permanent" and told["supervision"]["budget"] == 5


def test_people_see_signatures_and_origins(mesh: Project) -> None:
    text = run(mesh.root, "describe", "torch").out
    assert text.startswith("torch: Gives light.\n") and "  on pc2: ready\n" in text
    shine = "shine(name: str, times: int = 1, tags: list[str] = []) -> dict[str, object]  idempotent"
    assert f"{shine}\n        Shine for somebody." in text and "blow(why: str) -> None\n" in text
    assert "colour = red  (config/agents/torch.yaml:" in text and "concurrency = 1  (config/agents/torch.yaml:" in text
    assert "lamp.switch → switched" in text and "\n  agents/torch.py:It, coroutine\n" in text
    assert "\n    restart = permanent  (default)\n    restarts.budget = 5  (default)\n" in text
    assert "\n    failed 0 of 5 times in the last 60 s\n" in text
    assert "torch (soft)" in run(mesh.root, "describe", "request_coordinator").out


def test_a_default_is_told_as_one(mesh: Project) -> None:
    (colour,) = run(mesh.root, "describe", "lamp", "--json").json()["settings"]
    assert (colour["value"], colour["origin"]) == ("white", "default")


def test_an_unknown_service_is_refused_with_the_nearest_name(mesh: Project) -> None:
    result = run(mesh.root, "describe", "troch")
    assert result.code == 1 and "a service troch; did you mean torch?" in result.err
    assert "`mesh agents` lists" in run(mesh.root, "describe", "xylophone").err


def test_a_host_that_does_not_run_it_says_so(mesh: Project) -> None:
    result = run(mesh.root, "describe", "torch", "--host", "mainpc")
    assert result.code == 1 and "mainpc has no agent torch" in result.err
