"""Agents start in waves after what they cannot start without; circles are found and told."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import AgentSpec, Dependency, HostConfig, MeshConfig, RegistryConfig, hard_edges, waves
from mesh.config.graph import cycles
from mesh.errors import ConfigError

names = st.sampled_from("abcdefgh")
edges = st.dictionaries(names, st.frozensets(names, max_size=4), max_size=8)


def mesh(needs: Mapping[str, str], hosts: Mapping[str, str] | None = None) -> MeshConfig:
    """Return a mesh whose agents need the services given with spaces between; `?` before a name makes it soft."""
    root = Path("/project")
    agents = {
        service: AgentSpec(
            service=service,
            file=root / "x.py",
            class_name="X",
            hosts=tuple((hosts or {}).get(service, "pc").split()),
            depends_on=tuple(
                Dependency(service=name.removeprefix("?"), soft=name.startswith("?")) for name in text.split()
            ),
        )
        for service, text in needs.items()
    }
    return MeshConfig(
        mesh="home",
        registry=RegistryConfig(host="pc", port=0),
        hosts={
            name: HostConfig(name=name, address="127.0.0.1", port=0, events_port=0, metrics_port=0)
            for name in ("pc", "tv")
        },
        agents=agents,
        root=root,
        home=root / ".mesh",
    )


def test_agents_that_need_nothing_are_the_first_wave() -> None:
    assert waves(mesh({"b": "", "a": "", "c": "?b"}), "pc") == [["a", "b", "c"]]


def test_an_agent_starts_after_all_it_needs() -> None:
    config = mesh({"a": "b c", "b": "d", "c": "", "d": ""})
    assert waves(config, "pc") == [["c", "d"], ["b"], ["a"]]


def test_what_runs_elsewhere_or_nowhere_is_not_waited_for() -> None:
    config = mesh({"a": "b unknown", "b": "", "c": "a"}, {"b": "tv", "c": "pc tv"})
    assert waves(config, "pc") == [["a"], ["c"]]
    assert waves(config, "tv") == [["b", "c"]]
    assert hard_edges(config.agents, "tv") == {"b": (), "c": ()}


def test_a_host_without_agents_has_no_waves() -> None:
    assert waves(mesh({}), "pc") == []


def test_waves_of_a_circle_are_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match="agents on pc wait for each other: a -> b -> a; mark one edge"):
        waves(mesh({"a": "b", "b": "a", "c": ""}), "pc")


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": ["b"], "b": ["c"], "c": []}, []),
        ({"a": ["a"]}, [("a", "a")]),
        ({"b": ["c"], "c": ["a"], "a": ["b"]}, [("a", "b", "c", "a")]),
        ({"a": ["b", "c"], "b": ["a"], "c": ["a"]}, [("a", "b", "a"), ("a", "c", "a")]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, [("a", "b", "a"), ("c", "d", "c")]),
        ({"a": ["elsewhere"]}, []),
    ],
)
def test_every_circle_is_told_from_its_first_name(edges: Mapping[str, list[str]], found: list[tuple[str, ...]]) -> None:
    assert cycles(edges) == found


def test_a_very_long_chain_is_followed_to_its_end() -> None:
    chain: dict[str, tuple[str, ...]] = {f"s{n}": (f"s{n + 1}",) for n in range(20_000)}
    chain["s20000"] = ()
    assert cycles(chain) == []
    chain["s20000"] = ("s0",)
    assert len(cycles(chain)[0]) == 20_002


@given(edges)
def test_a_circle_is_a_way_along_edges_back_to_its_start(edges: dict[str, frozenset[str]]) -> None:
    for circle in cycles(edges):
        assert circle[0] == circle[-1]
        assert all(step in edges[before] for before, step in pairwise(circle))
        assert len(set(circle)) == len(circle) - 1


@given(edges)
def test_waves_hold_every_agent_once_or_there_is_a_circle(edges: dict[str, frozenset[str]]) -> None:
    config = mesh({service: " ".join(needs) for service, needs in edges.items()})
    if cycles(hard_edges(config.agents, "pc")):
        with pytest.raises(ConfigError):
            waves(config, "pc")
        return
    started: set[str] = set()
    for wave in waves(config, "pc"):
        assert all(set(edges[service]) & edges.keys() <= started for service in wave)
        started |= set(wave)
    assert started == edges.keys()
    assert sum(map(len, waves(config, "pc"))) == len(edges)
