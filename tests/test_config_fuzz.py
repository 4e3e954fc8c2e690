"""Whatever stands in the files and in the environment, the outcome is a configuration or findings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import findings, load
from mesh.errors import ConfigError

HOSTS = "mesh: home\nregistry: {host: pc}\nhosts: {pc: {address: 127.0.0.1}}\nenvironments: {production: {}}\n"
AGENT = "class: agents/clock.py:Clock\nhosts: [pc]\ndepends_on: [{service: a, soft: true}]\nsettings: {b: 1}\n"

WORDS = """
mesh security registry hosts environments development production host port store address events_port key class required
depends_on service soft isolation limits inbox start_s settings pc clock thread curve
"""
words = st.sampled_from(WORDS.split())
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | words
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5), max_leaves=30
)
documents = st.dictionaries(words, trees, max_size=8).map(yaml.safe_dump)
signs = st.text(st.sampled_from("abc:-?[]{}#&*!|>'\"%@`, \n\t0123456789.~<=\\"), max_size=60)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A right file with one piece replaced by something else."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 12)))
    return text[:start] + draw(signs | words | st.text(max_size=5)) + text[end:]


steps = words.map(str.upper) | st.sampled_from(["AGENTS", "", "_", "PORTT", "x"])
variables = st.dictionaries(
    st.lists(steps, min_size=1, max_size=6).map(lambda parts: "MESH_" + "__".join(parts)),
    signs | words | st.text(max_size=8),
    max_size=4,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "config/agents").mkdir(parents=True)
    (folder / "agents").mkdir()
    (folder / "agents/clock.py").touch()
    return folder


def agree(root: Path, hosts: str, agent: str, environ: Mapping[str, str], **more: Any) -> None:
    """Hold `load` and `findings` against each other: refused exactly when there is an error."""
    (root / "config/hosts.yaml").write_bytes(hosts.encode("utf-8", "surrogatepass"))
    (root / "config/agents/clock.yaml").write_bytes(agent.encode("utf-8", "surrogatepass"))
    errors = [item for item in findings(root, environ=environ, **more) if item.severity == "error"]
    try:
        config = load(root, environ=environ, **more)
    except ConfigError as error:
        assert errors
        assert all(str(item) in str(error) for item in errors)
    else:
        assert not errors
        assert config.mesh
        assert config.registry.host in config.hosts


@settings(deadline=None)  # each example reads files
@given(st.text() | signs, st.text() | signs)
def test_any_text(root: Path, hosts: str, agent: str) -> None:
    agree(root, hosts, agent, {})


@settings(deadline=None)  # each example reads files
@given(documents, documents)
def test_any_yaml_made_of_the_words_of_the_configuration(root: Path, hosts: str, agent: str) -> None:
    agree(root, hosts, agent, {})


@settings(deadline=None)  # each example reads files
@given(damaged(HOSTS), damaged(AGENT))
def test_any_damage_to_right_files(root: Path, hosts: str, agent: str) -> None:
    agree(root, hosts, agent, {})


@settings(deadline=None)  # each example reads files
@given(documents | st.just(AGENT), variables, words | st.none())
def test_any_environment_variables(root: Path, agent: str, environ: dict[str, str], environment: str | None) -> None:
    agree(root, HOSTS, agent, environ, environment=environment)
