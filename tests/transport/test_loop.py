"""Which event loop hosts run on."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import UsageError
from mesh.transport.loop import fastest_loop


@pytest.mark.parametrize(("environ", "module"), [
    ({}, "uvloop"), ({"MESH_LOOP": ""}, "uvloop"), ({"MESH_LOOP": "uvloop"}, "uvloop"),
    ({"MESH_LOOP": "asyncio"}, "asyncio"),
])
def test_a_variable_names_the_loop(environ: dict[str, str], module: str) -> None:
    with asyncio.Runner(loop_factory=fastest_loop(environ)) as runner:
        assert type(runner.get_loop()).__module__.partition(".")[0] == module


def test_a_loop_that_there_is_not_is_named() -> None:
    with pytest.raises(UsageError, match="MESH_LOOP is 'trio'; there are `uvloop` and `asyncio`"):
        fastest_loop({"MESH_LOOP": "trio"})
