"""docs/agents.md: its agents load, and do what the page says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mesh.config import load
from mesh.testing import InMemoryMesh, in_mesh
from tests.test_docs import DOCS, blocks


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """The agent files of the page, in a folder."""
    for block in blocks(DOCS / "agents.md"):
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    return tmp_path / "agents" / "mainpc"


@in_mesh
async def test_every_agent_of_the_page_starts(mesh: InMemoryMesh, pages: Path) -> None:
    for name in ("counter", "similarity", "weather"):
        cell = await mesh.add(name, f"{pages / name}.py:{name.capitalize()}")
        assert cell.state.value == "ready", cell.lifecycle.reason


@in_mesh
async def test_its_model_answers_many_calls_in_one_go(mesh: InMemoryMesh, pages: Path) -> None:
    await mesh.add("similarity", f"{pages / 'similarity.py'}:Similarity", settings={"batch": 4})
    pairs = [("silent", "listen"), ("abc", "xyz"), ("", ""), ("aab", "ab")]
    calls = [asyncio.ensure_future(mesh.request("similarity.compare", one=one, other=other)) for one, other in pairs]
    assert [round(value, 2) for value in await asyncio.gather(*calls)] == [1.0, 0.0, 1.0, 0.67]
    [batched] = mesh._host("mainpc").house.models.batches["similarity"]
    assert (batched.batches, batched.items) == (2, 8)


@pytest.mark.parametrize("page", ["agents.md", "operating.md"])
def test_the_config_it_shows_is_config(page: str, tmp_path: Path) -> None:
    """Every `connections`, `registry`, `state` and `budget` shown is taken as it stands."""
    shown = [block.text for block in blocks(DOCS / page) if block.language == "yaml" and "notify" not in block.text
             and any(word in block.text for word in ("connections:", "budget:"))]
    assert shown
    for number, text in enumerate(shown):
        root = tmp_path / str(number)
        (root / "config" / "agents").mkdir(parents=True)
        whole = "mesh: home\n" + text
        if "hosts:" not in text:
            whole += "hosts: {mainpc: {address: 127.0.0.1}}\n"
        if "registry:" not in text:
            whole += "registry: {host: mainpc}\n"
        (root / "config" / "hosts.yaml").write_text(whole)
        (root / "agents").mkdir()
        (root / "agents" / "it.py").write_text("")
        (root / "config" / "agents" / "it.yaml").write_text("class: agents/it.py:It\nhosts: [mainpc]\n")
        load(root, environ={})
