"""A mesh that runs once for all tests of the commands: launcher, registry, two hosts, three tiny agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eventually import wait_until
from tests.project import Project, project

PATIENT = {"breaker": None}  # many tests have it fail, each for itself

LAMP = '''
    import asyncio
    import time
    from collections.abc import AsyncIterator

    import zmq

    from mesh import Agent, AgentConfig, operation, subscribe


    class It(Agent):
        """Gives light."""

        class Config(AgentConfig):
            colour: str = "white"

        async def setup(self) -> None:
            self.kept: list[object] = []
            self.lit: list[str] = []

        @operation(idempotent=True)
        async def shine(self, name: str, times: int = 1, tags: list[str] = []) -> dict[str, object]:
            """Shine for somebody."""
            return {"name": name, "times": times, "tags": tags, "host": self.host, "colour": self.config.colour}

        @operation
        async def blow(self, why: str) -> None:
            raise ValueError(why)

        @operation
        async def picture(self) -> bytes:
            return b"\\x00\\xff"

        @operation
        async def nothing(self) -> None: ...

        @operation
        async def flicker(self, times: int, seconds: float = 0.0, fail: bool = False) -> AsyncIterator[dict[str, int]]:
            """Give a little light, again and again."""
            try:
                for number in range(times):
                    await asyncio.sleep(seconds)
                    yield {"flash": number}
                if fail:
                    raise ValueError("burnt out")
            finally:
                await self.publish("lamp.dark", {"after": times})

        @operation
        async def glow(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

        @operation
        async def spin(self, seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                pass

        @operation
        async def doze(self, seconds: float) -> None:
            time.sleep(seconds)

        @operation
        async def swell(self, megabytes: int) -> None:
            self.kept.append(bytes(b"x" * megabytes * 2**20))

        @operation
        async def open_context(self) -> None:
            context = zmq.Context()
            self.kept.append(context.socket(zmq.PAIR))

        @operation
        async def exit(self) -> None:
            raise SystemExit(3)

        @subscribe("lamp.switch")
        async def switched(self, switch: dict[str, str]) -> None:
            self.lit.append(switch["who"])
            await self.publish("lamp.lit", switch)

        @operation
        async def seen(self) -> list[str]:
            return self.lit
'''
COORDINATOR = '''
    from mesh import Agent, operation


    class It(Agent):
        """Answers in words."""

        @operation
        async def submit_text(self, data: str, user_id: str, session_id: str) -> dict[str, str]:
            first = await self.request("lamp.shine", name=data)
            second = await self.request("torch.shine", name=data)
            await self.request("lamp.shine", name=data)
            return {"answer": f"{data} from {first['host']} and {second['host']} for {user_id}", "intent": "light",
                    "engine": "builtin", "session_id": session_id}
'''


def furnish(made: Project) -> None:
    """Write the agents: `lamp` (required) and `request_coordinator` on mainpc, `torch` on pc2."""
    made.agent("lamp", LAMP, required=True, limits={"concurrency": 1}, policies=PATIENT)
    made.agent("torch", LAMP, host="pc2", settings={"colour": "red"}, limits={"concurrency": 1},
               policies=PATIENT)
    made.agent("request_coordinator", COORDINATOR, depends_on=[{"service": "torch", "soft": True}])


@pytest.fixture
def furnished(tmp_path: Path) -> Iterator[Project]:
    """The same project for one test alone, not started."""
    with project(tmp_path) as made:
        furnish(made)
        yield made


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running mesh of one test file, which may be treated roughly."""
    with project(tmp_path_factory.mktemp("rough")) as made:
        furnish(made)
        made.up()
        wait_until(lambda: all(row["sockets"] == 5 for row in made.json("status")["hosts"]), 10)
        yield made


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The running mesh all tests share; who uses it leaves it as it was."""
    with project(tmp_path_factory.mktemp("mesh")) as made:
        furnish(made)
        made.up()
        yield made
