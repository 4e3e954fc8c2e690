"""A sampled request across two hosts arrives at an OTLP receiver as one tree without a hole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eventually import wait_until
from tests.otlp_receiver import Received, receiving
from tests.project import project

FRONT = '''
    from mesh import Agent, operation, subscribe


    class It(Agent):
        """Asks others."""

        @operation
        async def ask(self) -> int:
            await self.publish("front.asked", {"n": 1})
            return await self.peer("back").count(words=["a", "b"])

        @subscribe("front.asked")
        async def hear(self, event: dict[str, int]) -> None: ...
'''
BACK = '''
    from mesh import Agent, operation


    class It(Agent):
        """Counts."""

        @operation
        async def count(self, words: list[str]) -> int:
            await self.request("back.length", words=words)
            return len(words)

        @operation
        async def length(self, words: list[str]) -> int:
            return len(words)
'''


def test_a_request_across_hosts_is_one_tree_at_the_receiver(tmp_path: Path) -> None:
    with receiving() as receiver, project(tmp_path) as made:
        made.agent("front", FRONT)
        made.agent("back", BACK, host="pc2", isolation="process")
        with (made.root / "config" / "hosts.yaml").open("a") as file:
            file.write(f"tracing: {{sample: 0, otlp: '{receiver.url}'}}\n")
        made.up()
        assert made.mesh("call", "front.ask").returncode == 0
        answer = made.json("call", "front.ask", "--trace")
        assert answer["ok"], answer

        def spans() -> list[Received]:
            return [each for each in receiver.spans() if each.span.trace_id.hex() == answer["trace_id"]]

        wait_until(lambda: len(spans()) == 6, 20)
        found = {each.span.span_id: each for each in spans()}
        assert len(found) == 6 == len(receiver.spans())
        roots = [each for each in found.values() if each.span.parent_span_id not in found]
        assert [(each.span.name, each.span.parent_span_id) for each in roots] == [("front.ask", b"")]
        assert sorted((each.span.name, each.span.kind, each.resource["service.instance.id"]) for each in spans()) == [
            ("back.count", 2, "back@pc2"), ("back.count", 3, "front@mainpc"), ("back.length", 2, "back@pc2"),
            ("back.length", 3, "back@pc2"), ("front.ask", 2, "front@mainpc"), ("front.hear", 5, "front@mainpc")]
        length = next(each for each in spans() if (each.span.name, each.span.kind) == ("back.length", 2))
        way = [length.span.name]
        while length.span.parent_span_id:
            length = found[length.span.parent_span_id]
            way.append(length.span.name)
        assert way == ["back.length", "back.length", "back.count", "back.count", "front.ask"]


def test_without_the_extra_the_host_runs_on_and_tells_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "opentelemetry.py").write_text("")  # a module in the place of the package
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    with project(tmp_path) as made:
        made.agent("back", BACK)
        with (made.root / "config" / "hosts.yaml").open("a") as file:
            file.write("tracing: {otlp: 'http://127.0.0.1:4318'}\n")
        made.up()
        assert made.call("back.count", words=["a"])["result"] == 1
        told = [row for row in made.json("errors") if row["type"] == "EngineMissing"]
        assert {row["host"] for row in told} == {"mainpc", "pc2"} and {row["severity"] for row in told} == {"warning"}
        assert all("run pip install 'mesh[tracing]'" in row["message"] for row in told)
