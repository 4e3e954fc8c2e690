"""Models in real processes: each kind of cell loads and batches, and the host's budget is kept by those it holds."""

from __future__ import annotations

from pathlib import Path

from tests.project import project

DOUBLER = '''
from mesh import MLAgent, operation


class It(MLAgent):
    """Doubles."""

    async def setup(self) -> None:
        self.double_one = self.batched(self._many, max_batch=4)

    async def _many(self, items: list[int]) -> list[int]:
        factor = await self.load("factor", lambda: 2, memory_mb=10)
        return [factor * item for item in items]

    @operation(idempotent=True)
    async def double(self, number: int) -> int:
        return await self.double_one(number)
'''


def test_models_are_loaded_in_every_kind_of_cell_and_the_budget_of_the_host_holds(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        for service, isolation in (("apart", "process"), ("beside", "thread"), ("inside", "coroutine")):
            made.agent(service, DOUBLER, isolation=isolation)
        file = made.root / "config" / "hosts.yaml"
        file.write_text(file.read_text().replace("mainpc: {address", "mainpc: {budget: {memory_mb: 15}, address", 1))
        made.up()
        assert made.call("apart.double", number=21)["result"] == 42
        assert made.call("beside.double", number=21)["result"] == 42
        refused = made.call("inside.double", number=21)["error"]
        assert refused["code"] == "overloaded"
        assert "whose budget of 15 MiB is held by factor of beside 10 MiB" in refused["message"]
        assert made.host("mainpc")["models"] == [{"device": "cpu", "limit_mb": 15.0, "held_mb": 10.0}]
        assert "factor on cpu: 10" in made.mesh("describe", "beside").stdout
        assert made.call("inside.double", number=1)["error"]["retryable"]
