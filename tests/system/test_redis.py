"""A mesh of real processes whose registry and states are kept in a real Redis, which goes away and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eventually import wait_until
from tests.project import Project
from tests.redis_server import RedisServer, redis_running

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
    wait_until(lambda: "mainpc: Redis at 127.0.0.1" in kept.mesh("status").stdout, 30)
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
    heard = kept.mesh("errors").stdout
    assert "Redis at 127.0.0.1" in heard
    assert f"redis at 127.0.0.1:{redis_server.port}/0: ok" in kept.mesh("describe", "keeper").stdout
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


def test_a_wrong_password_is_told_everywhere_and_shown_nowhere(
    kept: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, wrong = "right-4f1d", "wrong-9c2e"
    monkeypatch.setenv("REDIS_PASSWORD", wrong)
    with redis_running(tmp_path / "locked", password=secret) as server:
        file = kept.root / "config" / "hosts.yaml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("connections:")]
        file.write_text(f'connections: {{redis: {{url: "{server.url}", password_env: REDIS_PASSWORD}}}}\n'
                        + "\n".join(lines) + "\n")
        kept.up()
        wait_until(lambda: registry(kept)["state"] == "degraded", 30)
        told = kept.call("keeper.keep", number=1)
        shown = [str(registry(kept)["reason"]), str(told), kept.mesh("status").stdout, kept.mesh("errors").stdout,
                 kept.mesh("describe", "keeper").stdout, kept.mesh("errors", "--json").stdout]
        assert "the password in REDIS_PASSWORD is not the one it takes" in shown[0]
        assert not told["ok"] and "REDIS_PASSWORD" in shown[1]
        assert kept.call("keeper.here")["ok"]
    written = [path.read_bytes() for path in kept.home.rglob("*") if path.is_file()]
    for hidden in (secret, wrong):
        assert all(hidden not in text for text in shown)
        assert all(hidden.encode() not in data for data in written)
