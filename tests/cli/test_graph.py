"""`mesh graph` shows what config declares without a mesh, and what was really called with one."""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from typing import Any

from tests.cli.runner import run
from tests.project import Project


def relation(mesh: Project, source: str, target: str, *options: str) -> dict[str, Any] | None:
    relations = run(mesh.root, "graph", "--json", *options).json()["relations"]
    return next((one for one in relations if (one["from"], one["to"]) == (source, target)), None)


def test_declared_needs_no_mesh(furnished: Project) -> None:
    result = run(furnished.root, "graph", "--declared")
    assert result.code == 0
    assert "request_coordinator@mainpc" in result.out and "→ torch  calls it (soft)" in result.out
    assert "hears lamp.switch" in result.out
    both = run(furnished.root, "graph")
    assert both.code == 0 and both.out == result.out and "only what is declared" in both.err


def test_observed_needs_one(furnished: Project) -> None:
    assert run(furnished.root, "graph", "--observed").code == 3


def test_each_call_moves_its_count(mesh: Project) -> None:
    before = relation(mesh, "request_coordinator", "lamp", "--observed") or {"calls": 0}
    assert mesh.call("request_coordinator.submit_text", data="hello", user_id="u", session_id="s")["ok"]
    after = relation(mesh, "request_coordinator", "lamp", "--observed")
    assert after is not None
    assert after["calls"] == before["calls"] + 2 and after["declared"] is None and after["operations"] == ["shine"]
    softly = relation(mesh, "request_coordinator", "torch")
    assert softly is not None and softly["declared"] == "soft" and softly["calls"] >= 1
    text = run(mesh.root, "graph").out
    assert "of shine; not declared" in text and "ready" in text


def test_pictures_come_in_both_languages(mesh: Project) -> None:
    Xml.fromstring(run(mesh.root, "graph", "--format", "svg").out)
    assert run(mesh.root, "graph", "--format", "dot").out.startswith("digraph mesh {")


def test_a_wrong_call_says_what_is_right(furnished: Project) -> None:
    result = run(furnished.root, "graph", "--format", "png")
    assert result.code == 2 and "text, dot, svg" in result.err
    assert run(furnished.root, "graph", "--declared", "--observed").code == 2
