"""A mesh of real processes whose registry and states are kept in a real Redis, which goes away and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eventually import wait_until
from tests.project import Project
from tests.redis_server import RedisServer

KEEPER = '''
from mesh import Agent, operation


class It(Agent):
    """Keeps a number."""

    @operation
    async def keep(self, number: int) -> int:
        return await self.save_state({"number": number})

    @operation(idempotent=True)
    async def kept(self) -> dict[str, int] | None:
        return await self.get_latest_state()

    @operation(idempotent=True)
    async def here(self) -> bool:
        return True
'''


@pytest.fixture
def kept(pair: Project, redis_server: RedisServer) -> Project:
    """Two hosts with everything lasting in Redis."""
    file = pair.root / "config" / "hosts.yaml"
    text = file.read_text().replace("store: sqlite", "store: redis")
    file.write_text(f'state: {{store: redis}}\nconnections: {{redis: {{url: "{redis_server.url}"}}}}\n{text}')
    pair.agent("keeper", KEEPER)
    pair.agent("apart", KEEPER, isolation="process")
    return pair


def registry(project: Project) -> dict[str, object]:
    found: dict[str, object] = project.json("status")["registry"]
    return found


def state_of(project: Project, service: str) -> tuple[str, str | None]:
    row = next(row for row in project.json("agents") if row["service"] == service)
    return row["state"], row["reason"]


def test_what_was_accepted_outlives_the_registry_redis_and_the_files(kept: Project, redis_server: RedisServer) -> None:
    up = kept.up()
    assert registry(kept)["store"] == "redis"
    assert kept.call("keeper.keep", number=1)["ok"] and kept.call("apart.keep", number=2)["ok"]
    assert kept.mesh("agent", "stop", "far").returncode == 0
    redis_server.kill()
    wait_until(lambda: registry(kept)["state"] == "degraded", 30)
    assert str(redis_server.port) in str(registry(kept)["reason"])
    wait_until(lambda: state_of(kept, "keeper")[0] == "degraded", 30)
    assert "Redis at 127.0.0.1" in str(state_of(kept, "keeper")[1])
    refused = kept.call("keeper.keep", number=3)
    assert not refused["ok"] and "Redis at 127.0.0.1" in refused["error"]["message"]
    assert kept.call("keeper.here")["ok"]
    told = kept.mesh("agent", "stop", "near")  # stops, and says that it will not be remembered
    assert "not remembered" in told.stdout + told.stderr
    kept.kill("registry")
    wait_until(lambda: registry(kept)["state"] == "degraded", 30)
    assert state_of(kept, "far")[0] == "stopped"
    redis_server.start()
    wait_until(lambda: registry(kept)["state"] == "ok", 30)
    wait_until(lambda: state_of(kept, "keeper")[0] == "ready", 30)
    assert state_of(kept, "far")[0] == "stopped"
    assert kept.call("keeper.kept")["result"] == {"number": 1}
    assert kept.call("apart.kept")["result"] == {"number": 2}
    up.terminate()
    assert up.wait(20) == 0
    for file in [path for path in Path(kept.home).rglob("*.db*") if path.is_file()]:
        file.unlink()
    kept.up()
    wait_until(lambda: state_of(kept, "far")[0] == "stopped", 20)
    assert kept.call("keeper.kept")["result"] == {"number": 1}
