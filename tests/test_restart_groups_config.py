"""Restart groups are checked where they are written, and have an order."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.config import findings, load, start_order

HOSTS = """\
mesh: home
registry: {host: pc}
hosts: {pc: {address: 127.0.0.1}, far: {address: 127.0.0.1, port: 7420, events_port: 7421, metrics_port: 7422}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "config/agents").mkdir(parents=True)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/it.py").write_text("")
    for name, more in {"ear": "hosts: [pc]", "words": "hosts: [pc]\ndepends_on: [voice]", "voice": "hosts: [pc]",
                       "lamp": "hosts: [far]"}.items():
        (tmp_path / f"config/agents/{name}.yaml").write_text(f"class: agents/it.py:It\n{more}\n")
    return tmp_path


def written(root: Path, groups: str) -> Path:
    (root / "config/hosts.yaml").write_text(f"{HOSTS}restart_groups:\n{groups}")
    return root


def told(root: Path) -> list[tuple[str, str, int | None, str]]:
    return [(one.severity, one.code, one.line, one.message) for one in findings(root, environ={})]


def test_the_order_is_that_of_the_start_and_else_as_it_is_listed(project: Path) -> None:
    config = load(written(project, "  speech: {agents: [words, voice, ear], strategy: rest_for_one, budget: 3}\n"),
                  environ={})
    group = config.restart_groups["speech"]
    assert (group.strategy, group.budget, group.within_s) == ("rest_for_one", 3, 60.0)
    assert start_order(config, "pc", group.agents) == ["voice", "ear", "words"]
    assert start_order(config, "far", group.agents) == []


@pytest.mark.parametrize(("groups", "finding"), [
    ("  speech:\n    agents: [ear, wrods]\n",
     ("error", "unknown_member", 6, "the restart group `speech` has `wrods`, which no file configures")),
    ("  speech: {agents: [ear]}\n  house: {agents: [ear]}\n",
     ("error", "double_member", 6, "`ear` is in the restart group `speech` and in `house`")),
    ("  Speech!: {agents: [ear]}\n", ("error", "bad_name", 5, "`Speech!` cannot name a restart group")),
    ("  house: {agents: [ear, lamp], strategy: one_for_all}\n",
     ("note", "scattered_group", 5, "the restart group `house` lies on far and pc")),
    ("  house: {agents: [ear], strategy: all_for_one}\n", ("error", "invalid_value", 5,
     "`restart_groups.house.strategy` takes `one_for_one` or `one_for_all` or `rest_for_one`, found 'all_for_one'")),
])
def test_what_is_wrong_is_told_with_its_line(
    project: Path, groups: str, finding: tuple[str, str, int | None, str]
) -> None:
    assert told(written(project, groups)) == [finding]
