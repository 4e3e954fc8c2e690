"""Settings become one frozen model; a mistake is named with its key, and a relative path ends below the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mesh.agent import Agent, AgentConfig, read_settings
from mesh.errors import ConfigError, LoadError


class Index(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: Path = Path("index.bin")
    size: int = 10


class Keeper(Agent):
    class Config(AgentConfig):
        database: Path = Path("knowledge.db")
        results: int = 10
        model_id: str = "small"
        folders: list[Path] = Field(default_factory=list)
        named: dict[str, Path] = Field(default_factory=dict)
        index: Index = Index()
        spare: Index | None = None
        backup: Path | None = None

    class Strict(AgentConfig):
        name: str


def read(folder: Path | None = None, **settings: Any) -> Any:
    return read_settings(Keeper, "keeper", settings, folder)


def test_defaults_and_given_settings_make_a_frozen_config() -> None:
    config = read(results="20")
    assert isinstance(config, Keeper.Config)
    assert config.results == 20  # settings also come from the environment, where everything is text
    with pytest.raises(ValidationError):
        config.results = 5


def test_relative_paths_end_below_the_folder_wherever_they_stand(tmp_path: Path) -> None:
    config = read(tmp_path, folders=["a", "/b"], named={"x": "c"}, spare={"file": "d"})
    assert config.database == tmp_path / "knowledge.db"
    assert config.folders == [tmp_path / "a", Path("/b")]
    assert config.named == {"x": tmp_path / "c"}
    assert config.index.file == tmp_path / "index.bin"
    assert config.spare.file == tmp_path / "d"
    assert config.backup is None


def test_a_home_path_stays_the_users(tmp_path: Path) -> None:
    assert read(tmp_path, database="~/knowledge.db").database == Path.home() / "knowledge.db"


@pytest.mark.parametrize(("settings", "told"), [
    ({"resutls": 5}, "keeper: there is no setting 'resutls' (found 5 (int)), did you mean 'results'?"),
    ({"zzz": 5}, "known are: backup, database, folders, index, model_id, named, results, spare"),
    ({"results": "ten"}, "keeper: setting 'results': expected int, found 'ten' (str): input should be a valid integer"),
    ({"index": {"sise": 1}}, "there is no setting 'index.sise' (found 1 (int)), did you mean 'size'?"),
    ({"spare": {"size": "x"}}, "setting 'spare.size': expected int, found 'x' (str)"),
    ({"folders": ["a", 5]}, "setting 'folders[1]'"),
])
def test_a_wrong_setting_is_named_with_expectation_finding_and_nearest_name(settings: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**settings)
    assert told in caught.value.message


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read(resutls=5, model_id=7)
    assert len(caught.value.message.splitlines()) == 2
    assert {finding["key"] for finding in caught.value.details["findings"]} == {"resutls", "model_id"}


def test_a_missing_setting_is_named_with_its_type() -> None:
    class Named(Agent):
        Config = Keeper.Strict

    with pytest.raises(ConfigError, match="named: setting 'name' is missing, expected str"):
        read_settings(Named, "named", {})


def test_an_agent_without_config_takes_no_settings() -> None:
    assert read_settings(Agent, "plain", {}) == AgentConfig()
    with pytest.raises(ConfigError, match="known are: none"):
        read_settings(Agent, "plain", {"a": 1})


def test_a_secret_in_settings_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        read(api_key="hunter2")
    assert "hunter2" not in caught.value.message


def test_a_config_of_another_kind_is_refused_at_load() -> None:
    class Loose(Agent):
        class Config:
            results: int = 10

    with pytest.raises(LoadError, match="it is not derived from AgentConfig"):
        read_settings(Loose, "loose", {})
