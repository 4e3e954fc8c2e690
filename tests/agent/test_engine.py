"""The section of a language model server: what it may say, and what is known to be missing before it is called."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from mesh.agent import EngineConfig, MLAgent, read_settings
from mesh.agent.engine import obstacle
from mesh.errors import ConfigError, EngineMissing


def engine(**settings: Any) -> EngineConfig:
    return EngineConfig(**{"base_url": "http://127.0.0.1:8080", "model": "small", **settings})


@pytest.mark.parametrize(("given", "used"), [
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
    ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
    ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
    ("https://models.example/openai/v2", "https://models.example/openai/v2"),
])
def test_an_address_without_a_path_gets_the_protocols(given: str, used: str) -> None:
    assert engine(base_url=given).base_url == used


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://x", "http://", "http://me:hunter2@x/v1", "http://x?key=y"])
def test_an_address_that_cannot_be_used_is_refused_in_config(address: str) -> None:
    with pytest.raises(ConfigError, match=r"setting 'engine\.base_url'"):
        read_settings(MLAgent, "model_manager", {"engine": {"base_url": address, "model": "small"}})


@pytest.mark.parametrize("settings", [{}, {"engine": None}, {"engine": "builtin"}])
def test_builtin_is_no_server(settings: dict[str, Any]) -> None:
    config = read_settings(MLAgent, "model_manager", settings)
    assert isinstance(config, MLAgent.Config)
    assert config.engine is None


def test_a_typo_in_the_section_names_the_nearest_key() -> None:
    section = {"base_url": "http://127.0.0.1:1", "modle": "small"}
    with pytest.raises(ConfigError) as caught:
        read_settings(MLAgent, "model_manager", {"engine": section})
    assert "there is no setting 'engine.modle' (found 'small' (str)), did you mean 'model'?" in caught.value.message
    assert "setting 'engine.model' is missing, expected str" in caught.value.message


def test_the_key_comes_from_the_environment() -> None:
    assert engine().key({}) is None
    assert engine(api_key_env="KEY").key({"KEY": " abc\n"}) == "abc"
    with pytest.raises(EngineMissing, match="the environment variable KEY is not set") as caught:
        engine(api_key_env="KEY").key({})
    assert caught.value.details["command"] == "export KEY=…"


def test_an_engine_with_everything_in_place_has_no_obstacle() -> None:
    assert obstacle(engine(), {}) is None


def test_a_key_that_is_not_set_is_an_obstacle() -> None:
    assert "KEY is not set" in (obstacle(engine(api_key_env="KEY"), {}) or "")


def test_a_missing_client_is_an_obstacle_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert (obstacle(engine(), {}) or "").endswith("needs httpx: pip install 'mesh[http]'")
