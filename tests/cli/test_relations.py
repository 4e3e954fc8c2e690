"""Declared and observed become one graph that keeps apart which is which."""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.picture import dot, svg, told
from mesh.cli.relations import Relations, relate
from mesh.config import MeshConfig, load
from tests.project import project

AGENT = "from mesh import Agent\nclass It(Agent): ...\n"
NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[MeshConfig]:
    with project(tmp_path) as made:
        made.agent("lamp", AGENT, depends_on=[{"service": "socket"}, {"service": "torch", "soft": True}])
        made.agent("socket", AGENT)
        made.agent("torch", AGENT, host="pc2")
        made.agent("alone", AGENT)
        yield load(made.root)


def call(caller: str, service: str, **fields: Any) -> dict[str, Any]:
    return {"caller": caller, "host": "mainpc", "service": service, "operation": "shine", "calls": 3, "errors": 0,
            "last_error": None, **fields}


def seen(config: MeshConfig, *calls: dict[str, Any], declared: bool = True) -> Relations:
    return relate(config, declared=declared, calls=calls, states={"lamp": "degraded"},
                  hears=[{"service": "torch", "pattern": "lamp.switch", "group": None},
                         {"service": "torch", "pattern": "lamp.*", "group": "dark"}])


def test_what_is_declared_and_what_is_seen_are_one_relation(config: MeshConfig) -> None:
    related = seen(config, call("lamp", "torch"), call("lamp", "torch", operation="dim", errors=1, last_error="busy"))
    one = next(one for one in related.relations if one.target == "torch")
    assert (one.declared, one.calls, one.errors, one.operations) == ("soft", 6, 1, ["shine", "dim"])
    assert told(one) == "calls it (soft); 6 calls, 1 failed (last: busy); of dim, shine"
    assert next(one for one in related.relations if one.target == "socket").declared == "hard"


def test_a_call_nobody_declared_is_marked(config: MeshConfig) -> None:
    related = seen(config, call("torch", "lamp"))
    assert told(related.of("torch")[0]).endswith("not declared")


def test_observed_alone_leaves_out_what_was_never_used(config: MeshConfig) -> None:
    related = seen(config, call("lamp", "torch"), declared=False)
    assert [(one.source, one.target, one.declared) for one in related.relations] == [("lamp", "torch", "soft")]


def test_a_name_nobody_configures_is_shown_as_such(config: MeshConfig) -> None:
    related = seen(config, call("lamp", "lapm", errors=3, last_error="unknown_service"))
    assert [node.known for node in related.nodes if node.service == "lapm"] == [False]


def test_the_picture_holds_every_service_once_within_its_borders(config: MeshConfig) -> None:
    picture = Xml.fromstring(svg(seen(config, call("lamp", "torch"), call("torch", "lamp")), "a <title> & more"))
    boxes = {group.findtext(f"{NAMESPACE}text"): group.find(f"{NAMESPACE}rect")
             for group in picture.iter(f"{NAMESPACE}g")}
    assert set(boxes) == {"lamp", "socket", "torch", "alone"}
    for box in boxes.values():
        assert box is not None
        assert 0 <= float(box.get("x", "")) <= float(picture.get("width", "")) - float(box.get("width", ""))
        assert 0 <= float(box.get("y", "")) <= float(picture.get("height", "")) - float(box.get("height", ""))
    corners = [(box.get("x"), box.get("y")) for box in boxes.values() if box is not None]
    assert len(set(corners)) == 4
    assert sum(path.find(f"{NAMESPACE}title") is not None for path in picture.iter(f"{NAMESPACE}path")) == 3


def test_dot_names_every_edge_with_its_count(config: MeshConfig) -> None:
    text = dot(seen(config, call("lamp", "torch", calls=12345)))
    assert '"lamp" -> "torch" [style=solid' in text and 'label="12k"' in text
    assert '"lamp" -> "socket" [style=solid' in text and text.startswith("digraph mesh {") and text.endswith("}")


def test_a_mesh_without_agents_has_a_picture(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        Xml.fromstring(svg(relate(load(made.root), declared=True, calls=(), hears=(), states={}), "empty"))
