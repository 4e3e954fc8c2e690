"""From `mesh new agent` to a tested agent that another host calls, as somebody new to it would do it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.eventually import wait_until
from tests.project import project

ROOT = Path(__file__).resolve().parents[2]
SOON = 30.0


def test_a_new_agent_is_tested_runs_and_is_called_by_another_host(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        up = made.up("--watch")
        assert made.json("agents") == []
        told = made.json("new", "agent", "door_bell", "--host", "pc2")
        done = subprocess.run([sys.executable, *told["next"][0].split()[1:]], cwd=made.root, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0 and "2 passed" in done.stdout
        wait_until(lambda: "door_bell is new and ready" in made.output(up), SOON)
        assert made.call("door_bell.greet", name="Ada")["result"] == "Hello, Ada!"

        made.json("new", "agent", "porter")
        porter = made.root / "agents" / "mainpc" / "porter.py"
        asking = 'f"Ding! {await self.peer(\'door_bell\').greet(name=name)}"'
        porter.write_text(porter.read_text().replace('f"{self.config.greeting}, {name}!"', asking))
        wait_until(lambda: made.call("porter.greet", name="Ada").get("result") == "Ding! Hello, Ada!", SOON)
        rows = {row["service"]: row["host"] for row in made.json("agents")}
        assert rows == {"door_bell": "pc2", "porter": "mainpc"}

        assert made.json("config", "set", "door_bell", "greeting", "Good day")["hosts"][0]["how"] == "live"
        assert made.call("porter.greet", name="Ada")["result"] == "Ding! Good day, Ada!"


def test_a_host_that_runs_without_watching_has_it_after_its_next_start(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        up = made.up()
        made.json("new", "agent", "door_bell", "--host", "pc2")
        refused = made.call("door_bell.greet", name="Ada")["error"]
        assert refused["code"] in ("unknown_service", "unavailable")
        up.terminate()
        assert up.wait(SOON) == 0
        made.up()
        assert made.call("door_bell.greet", name="Ada")["result"] == "Hello, Ada!"


def test_the_templates_are_shipped_with_the_package() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["mesh"]
    assert "cli/templates/*.in" in shipped
    assert {file.suffix for file in (ROOT / "mesh" / "cli" / "templates").iterdir()} == {".in"}
