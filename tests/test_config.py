"""The configuration is read in layers, the later winning, and every value remembers where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mesh.config import (
    ISOLATION,
    Dependency,
    Limits,
    MeshConfig,
    RestartsConfig,
    apply_overrides,
    find_root,
    findings,
    load,
)
from mesh.errors import ConfigError
from mesh.restart import Terms

HOSTS = """\
mesh: home
registry: {host: mainpc, port: 7400, store: sqlite}
hosts:
  mainpc: {address: 192.168.1.10, port: 7410, events_port: 7411, metrics_port: 7412}
  pc2:    {address: 192.168.1.11, port: 7420, events_port: 7421, metrics_port: 7422}
environments:
  development: {hosts: {mainpc: {address: 127.0.0.1}, pc2: {address: 127.0.0.1}}}
  production: {}
"""
CLOCK = """\
class: agents/mainpc/clock.py:Clock
hosts: [mainpc]
required: true
depends_on: [{service: calendar, soft: true}]
isolation: thread
limits: {inbox: 10}
settings:
  results: 10
  engine: {model: small, timeout_s: 2.5}
environments:
  production:
    settings: {results: 20}
    limits: {concurrency: 3}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"config/hosts.yaml": HOSTS, "config/agents/clock.yaml": CLOCK, "agents/mainpc/clock.py": ""})
    return tmp_path


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def loaded(root: Path, environment: str | None = None, **environ: str) -> MeshConfig:
    return load(root, environment=environment, environ=environ)


class TestFiles:
    def test_hosts_and_registry_are_those_of_the_file(self, project: Path) -> None:
        config = loaded(project, "production")
        assert (config.mesh, config.environment, config.security) == ("home", "production", "curve")
        assert config.registry.model_dump() == {
            "host": "mainpc", "port": 7400, "metrics_port": 7402, "store": "sqlite",
        }
        assert config.hosts["pc2"].model_dump() == {
            "name": "pc2",
            "address": "192.168.1.11",
            "port": 7420,
            "events_port": 7421,
            "metrics_port": 7422,
            "key": None,
            "budget": {"memory_mb": None, "devices": {}, "cache_mb": 64.0, "cache_entries": 20_000},
        }

    def test_an_agent_is_what_its_file_says(self, project: Path) -> None:
        clock = loaded(project).agents["clock"]
        assert clock.service == "clock"
        assert clock.file == project / "agents/mainpc/clock.py"
        assert clock.class_name == "Clock"
        assert clock.config_file == project / "config/agents/clock.yaml"
        assert clock.hosts == ("mainpc",)
        assert clock.required
        assert clock.depends_on == (Dependency(service="calendar", soft=True),)
        assert clock.isolation == "thread"
        assert clock.limits == Limits(inbox=10, concurrency=64, start_s=10, stop_s=5)
        assert clock.settings == {"results": 10, "engine": {"model": "small", "timeout_s": 2.5}}

    def test_what_is_not_written_has_its_default(self, project: Path) -> None:
        write(
            project,
            {
                "config/hosts.yaml": "mesh: home\nregistry: {host: pc}\nhosts: {pc: {address: 127.0.0.1}}",
                "config/agents/clock.yaml": "class: agents/mainpc/clock.py:Clock\nhosts: [pc]\nsettings:\n",
            },
        )
        config = loaded(project)
        assert (config.registry.port, config.registry.store, config.security) == (7400, "sqlite", "curve")
        host = config.hosts["pc"]
        assert (host.port, host.events_port, host.metrics_port, host.key) == (7410, 7411, 7412, None)
        clock = config.agents["clock"]
        assert (clock.required, clock.isolation, clock.limits, clock.settings) == (False, "coroutine", Limits(), {})
        assert clock.origin["isolation"] == clock.origin["limits.inbox"] == "default"

    def test_a_dependency_can_be_only_a_name_and_is_hard_then(self, project: Path) -> None:
        text = "class: agents/mainpc/clock.py:Clock\nhosts: [mainpc]\n"
        write(project, {"config/agents/chime.yaml": f"{text}depends_on: [clock]"})
        assert loaded(project).agents["chime"].depends_on == (Dependency(service="clock", soft=False),)

    def test_the_same_class_may_serve_two_services(self, project: Path) -> None:
        write(project, {"config/agents/clock_two.yaml": CLOCK})
        assert loaded(project).agents.keys() == {"clock", "clock_two"}

    def test_an_anchor_can_be_used_again(self, project: Path) -> None:
        text = "class: agents/mainpc/clock.py:Clock\nhosts: &all [mainpc, pc2]\nsettings: {watch: *all}"
        write(project, {"config/agents/clock.yaml": text})
        assert loaded(project).agents["clock"].settings == {"watch": ["mainpc", "pc2"]}

    def test_the_configuration_cannot_be_changed(self, project: Path) -> None:
        config = loaded(project)
        with pytest.raises(ValidationError, match="frozen"):
            config.mesh = "other"
        with pytest.raises(ValidationError, match="frozen"):
            config.agents["clock"].limits.inbox = 5

    def test_the_agents_of_a_host_are_those_that_name_it(self, project: Path) -> None:
        config = loaded(project)
        assert list(config.on("mainpc")) == ["clock"]
        assert config.on("pc2") == {}

    def test_the_shipped_hosts_file_is_right_in_both_environments(self, tmp_path: Path) -> None:
        shipped = Path(__file__).parents[1] / "config/hosts.yaml"
        write(tmp_path, {"config/hosts.yaml": shipped.read_text(encoding="utf-8")})
        development, production = loaded(tmp_path), loaded(tmp_path, "production")
        assert {host.address for host in development.hosts.values()} == {"127.0.0.1"}
        assert [host.address for host in production.hosts.values()] == ["192.168.1.10", "192.168.1.11"]
        assert {finding.severity for finding in findings(tmp_path, environ={})} == {"note"}


class TestEnvironment:
    def test_development_is_the_default(self, project: Path) -> None:
        config = loaded(project)
        assert config.environment == "development"
        assert config.hosts["mainpc"].address == "127.0.0.1"
        assert config.hosts["mainpc"].port == 7410

    def test_development_needs_no_section(self, project: Path) -> None:
        text = "mesh: home\nregistry: {host: pc}\nhosts: {pc: {address: 127.0.0.1}}"
        write(project, {"config/hosts.yaml": text, "config/agents/clock.yaml": CLOCK.partition("environments")[0]})
        (project / "config/agents/clock.yaml").unlink()
        assert loaded(project).environment == "development"

    def test_the_variable_names_it_and_the_argument_wins(self, project: Path) -> None:
        assert loaded(project, MESH_ENVIRONMENT="production").environment == "production"
        assert loaded(project, "development", MESH_ENVIRONMENT="production").environment == "development"

    def test_a_section_changes_only_what_it_says(self, project: Path) -> None:
        clock = loaded(project, "production").agents["clock"]
        assert clock.settings == {"results": 20, "engine": {"model": "small", "timeout_s": 2.5}}
        assert clock.limits == Limits(inbox=10, concurrency=3)

    def test_a_section_replaces_lists_whole(self, project: Path) -> None:
        write(project, {"config/agents/clock.yaml": CLOCK + "    hosts: [pc2]\n"})
        assert loaded(project, "production").agents["clock"].hosts == ("pc2",)

    def test_an_unknown_one_is_refused_with_those_there_are(self, project: Path) -> None:
        with pytest.raises(ConfigError, match="unknown environment `prodution`") as raised:
            loaded(project, "prodution")
        assert "development, production" in str(raised.value)
        assert "did you mean `production`?" in str(raised.value)


class TestVariables:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("10", 10),
            ("2.5", 2.5),
            ("true", True),
            ("large", "large"),
            ('"10"', "10"),
            ("'true'", "true"),
            ("a: b # c", "a: b # c"),
            ("[1, two]", [1, "two"]),
            ("{deep: {er: 1}}", {"deep": {"er": 1}}),
            ("", None),
        ],
    )
    def test_the_value_is_read_as_yaml(self, project: Path, text: str, value: Any) -> None:
        config = loaded(project, MESH_AGENTS__CLOCK__SETTINGS__RESULTS=text)
        assert config.agents["clock"].settings["results"] == value

    def test_they_win_over_the_environment_section(self, project: Path) -> None:
        config = loaded(project, "production", MESH_AGENTS__CLOCK__SETTINGS__RESULTS="30")
        assert config.agents["clock"].settings["results"] == 30

    def test_they_set_hosts_registry_and_limits(self, project: Path) -> None:
        config = loaded(
            project,
            MESH_HOSTS__PC2__ADDRESS="10.0.0.7",
            MESH_REGISTRY__PORT="7500",
            MESH_SECURITY="none",
            MESH_AGENTS__CLOCK__LIMITS__START_S="3",
            MESH_AGENTS__CLOCK__HOSTS="[pc2]",
        )
        assert config.hosts["pc2"].address == "10.0.0.7"
        assert config.registry.port == 7500
        assert config.security == "none"
        assert config.agents["clock"].limits.start_s == 3
        assert config.agents["clock"].hosts == ("pc2",)
        assert config.origin["registry.port"] == "env MESH_REGISTRY__PORT"

    def test_a_setting_the_file_does_not_have_is_written_small(self, project: Path) -> None:
        config = loaded(project, MESH_AGENTS__CLOCK__SETTINGS__ENGINE__BASE_URL="http://localhost:1")
        assert config.agents["clock"].settings["engine"]["base_url"] == "http://localhost:1"

    def test_a_setting_of_the_file_keeps_its_spelling(self, project: Path) -> None:
        write(project, {"config/agents/clock.yaml": CLOCK.replace("results", "maxResults")})
        config = loaded(project, MESH_AGENTS__CLOCK__SETTINGS__MAXRESULTS="7")
        assert config.agents["clock"].settings["maxResults"] == 7

    def test_a_service_with_two_underscores_in_its_name_can_be_meant(self, project: Path) -> None:
        write(project, {"config/agents/clock__two.yaml": CLOCK})
        config = loaded(project, MESH_AGENTS__CLOCK__TWO__SETTINGS__RESULTS="7")
        assert config.agents["clock__two"].settings["results"] == 7
        assert config.agents["clock"].settings["results"] == 10

    def test_variables_of_other_programs_are_let_be(self, project: Path) -> None:
        assert loaded(project, PATH="/bin", MESHED__UP="1", MESH_PORT_7400_TCP_ADDR="10.0.0.1").mesh == "home"

    def test_home_is_a_folder_of_the_project_unless_the_variable_says_otherwise(self, project: Path) -> None:
        assert loaded(project).home == project / ".mesh"
        assert loaded(project, MESH_HOME="state").home == project / "state"
        assert loaded(project, MESH_HOME="/var/lib/mesh").home == Path("/var/lib/mesh")


class TestOverrides:
    def test_they_win_over_everything(self, project: Path) -> None:
        config = load(
            project,
            environ={"MESH_AGENTS__CLOCK__SETTINGS__RESULTS": "30"},
            overrides={"clock": {"results": 40, "engine.model": "large", "new.key": [1]}},
        )
        assert config.agents["clock"].settings == {
            "results": 40,
            "engine": {"model": "large", "timeout_s": 2.5},
            "new": {"key": [1]},
        }

    def test_those_of_a_service_nobody_configures_hinder_nothing(self, project: Path) -> None:
        overrides = {"clokc": {"results": 1}}
        assert "clokc" not in load(project, environ={}, overrides=overrides).agents
        codes = {finding.code: finding.severity for finding in findings(project, environ={}, overrides=overrides)}
        assert codes["stale_override"] == "note"

    def test_the_spec_they_are_applied_to_stays_as_it_is(self, project: Path) -> None:
        clock = loaded(project).agents["clock"]
        changed = apply_overrides(clock, {"engine.model": "large"})
        assert changed.settings["engine"] == {"model": "large", "timeout_s": 2.5}
        assert clock.settings["engine"] == {"model": "small", "timeout_s": 2.5}
        assert clock.origin["settings.engine.model"] == "config/agents/clock.yaml:9"

    def test_a_section_can_take_the_place_of_a_value_and_a_value_that_of_a_section(self, project: Path) -> None:
        clock = loaded(project).agents["clock"]
        changed = apply_overrides(clock, {"results.most": 3, "engine": None})
        assert changed.settings == {"results": {"most": 3}, "engine": None}
        assert {key for key in changed.origin if key.startswith("settings.")} == {
            "settings.results.most",
            "settings.engine",
        }

    def test_one_of_them_is_no_setting_but_where_the_agent_runs(self, project: Path) -> None:
        clock = loaded(project).agents["clock"]
        moved = apply_overrides(clock, {ISOLATION: "process", "results": 3})
        assert (moved.isolation, moved.origin["isolation"], moved.settings["results"]) == ("process", "override", 3)
        assert ISOLATION not in moved.settings and clock.isolation != "process"
        with pytest.raises(ConfigError, match="or `process` or `auto`, found 'cloud'"):
            apply_overrides(clock, {ISOLATION: "cloud"})

    def test_how_it_is_restarted_is_changed_like_its_limits(self, project: Path) -> None:
        clock = loaded(project).agents["clock"]
        changed = apply_overrides(clock, {"restart": "temporary", "restarts.budget": 9, "restarts.delays_s": [1.0]})
        assert (changed.restart, changed.restarts.budget, changed.restarts.delays_s) == ("temporary", 9, [1.0])
        assert changed.restarts.terms() == Terms(delays=(1.0,), budget=9) and changed.settings == clock.settings
        for key, value in (("restart", "often"), ("restarts.budget", -1), ("restarts.delays_s", []),
                           ("restarts.delays_s", [0.0]), ("restarts.within_s", 0.5), ("restarts.most", 5)):
            with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
                apply_overrides(clock, {key: value})

    def test_instances_are_counted_for_all_hosts_or_for_one_of_them(self, project: Path) -> None:
        clock = loaded(project).agents["clock"].model_copy(update={"hosts": ("pc", "tv"), "instances": 2})
        assert [clock.count(host) for host in clock.hosts] == [2, 2]
        assert apply_overrides(clock, {"instances": 3}).instances == 3
        assert apply_overrides(clock, {"instances.tv": 5}).instances == {"pc": 2, "tv": 5}
        assert apply_overrides(clock, {"instances": {"tv": 5}}).count("pc") == 1
        assert apply_overrides(clock, {"instances.tv": 5}).origin["instances.tv"] == "override"
        with pytest.raises(ConfigError, match="takes a whole number from 1 to 64"):
            apply_overrides(clock, {"instances": 0})
        with pytest.raises(ConfigError, match="clock does not run on car, but on pc, tv"):
            apply_overrides(clock, {"instances.car": 1})

    def test_a_key_with_a_hole_is_refused(self, project: Path) -> None:
        with pytest.raises(ConfigError, match=r"'a\.\.b' is no key of the settings of clock"):
            apply_overrides(loaded(project).agents["clock"], {"a..b": 1})


def test_every_value_says_where_it_came_from(project: Path) -> None:
    config = load(
        project,
        environment="production",
        environ={"MESH_AGENTS__CLOCK__LIMITS__INBOX": "5"},
        overrides={"clock": {"engine.model": "large"}},
    )
    origin = config.agents["clock"].origin
    assert origin == {
        "class": "config/agents/clock.yaml:1",
        "hosts": "config/agents/clock.yaml:2",
        "instances": "default",
        "required": "config/agents/clock.yaml:3",
        "depends_on": "config/agents/clock.yaml:4",
        "isolation": "config/agents/clock.yaml:5",
        "limits.inbox": "env MESH_AGENTS__CLOCK__LIMITS__INBOX",
        "limits.concurrency": "environment production (config/agents/clock.yaml:13)",
        "limits.start_s": "default",
        "limits.stop_s": "default",
        "limits.cleanup_s": "default",
        **dict.fromkeys(("limits.memory_mb", "limits.cpu_s", "limits.open_files", "limits.stuck_s"), "default"),
        "restart": "default",
        "reload": "default", **{f"restarts.{name}": "default" for name in RestartsConfig.model_fields},
        "settings.results": "environment production (config/agents/clock.yaml:12)",
        "settings.engine.model": "override",
        "settings.engine.timeout_s": "config/agents/clock.yaml:9",
    }
    assert config.origin["hosts.pc2.port"] == "config/hosts.yaml:5"


class TestRoot:
    def test_it_is_found_from_any_folder_inside(self, project: Path) -> None:
        assert find_root(project / "agents/mainpc") == project
        assert find_root(project) == project

    def test_without_a_project_the_message_says_where_it_looked_and_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        with pytest.raises(ConfigError) as raised:
            find_root(tmp_path / "deep")
        assert f"no config/hosts.yaml in {tmp_path / 'deep'}, {tmp_path}, " in str(raised.value)
        assert "--config DIR" in str(raised.value)

    def test_loading_where_there_is_no_project_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config/hosts\.yaml: cannot be read: No such file"):
            loaded(tmp_path)
