"""Somebody is told of a new error, of an agent in quarantine and of a dead host, by one host and once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.eventually import wait_until
from tests.project import Project, project

KEEP = "import sys; open('told.jsonl', 'a').write(sys.stdin.read() + '\\n')"
LIMIT = 40.0
FLAKY = '''
    from mesh import Agent, operation


    class It(Agent):
        """Fails."""

        @operation
        async def blow(self, why: str) -> None:
            raise ValueError(why)

        @operation
        async def exit(self) -> None:
            raise SystemExit(3)
'''

BROKEN = '''
    from mesh import Agent


    class It(Agent):
        """Never starts."""

        async def setup(self) -> None:
            raise ValueError("no bulb")
'''


def told(made: Project) -> list[dict[str, Any]]:
    path = made.root / "told.jsonl"
    documents = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{**notice, "by": document["host"]} for document in documents for notice in document["notices"]]


def test_people_are_told_of_what_needs_them(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        made.agent("flaky", FLAKY)
        made.agent("other", FLAKY, host="pc2")
        made.agent("broken", BROKEN)
        with (made.root / "config" / "hosts.yaml").open("a") as file:
            file.write(f"notify: {json.dumps({'command': [sys.executable, '-c', KEEP]})}\n")
        made.up()
        wait_until(lambda: "quarantine" in [notice["occasion"] for notice in told(made)], LIMIT)
        (broken,) = [notice for notice in told(made) if notice["occasion"] == "quarantine"]
        assert (broken["service"], broken["host"], broken["by"], broken["severity"]) == (
            "broken", "mainpc", "mainpc", "critical")
        assert "no bulb" in broken["message"] and "mesh agent start broken" in broken["decision"]

        for _ in range(3):
            made.call("other.blow", why="dark")
        wait_until(lambda: "pc2" in [notice["host"] for notice in told(made)], LIMIT)
        (error,) = [notice for notice in told(made) if notice["host"] == "pc2"]
        assert (error["occasion"], error["service"], error["host"], error["by"]) == ("error", "other", "pc2", "pc2")
        assert made.mesh("errors", "show", error["id"]).returncode == 0

        made.kill("pc2")
        wait_until(lambda: "host_dead" in [notice["occasion"] for notice in told(made)], LIMIT)
        (dead,) = [notice for notice in told(made) if notice["occasion"] == "host_dead"]
        assert dead["by"] == "mainpc" and "host pc2 is dead" in dead["message"]
