"""`mesh check` lists everything that is wrong at once, with file and line, and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.runner import run
from tests.project import Project, project

LAMP = '''
    from mesh import Agent, AgentConfig, operation

    print("a file that prints")

    class It(Agent):
        """Gives light."""

        class Config(AgentConfig):
            colour: str = "white"
            watts: int = 5

        @operation
        async def shine(self) -> None: ...
'''


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


def found(made: Project) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run(made.root, "check", "--json").json()
    assert all(set(row) == {"severity", "code", "file", "line", "message", "hint"} for row in rows)
    return rows


def test_a_project_in_order_says_so(made: Project) -> None:
    made.agent("lamp", LAMP, settings={"colour": "red"})
    result = run(made.root, "check")
    assert result.code == 0 and result.out == "the configuration and every agent are in order\n"
    assert found(made) == []


def test_what_an_agent_prints_while_it_loads_does_not_spoil_the_result(made: Project) -> None:
    made.agent("lamp", LAMP)
    result = run(made.root, "check", "--json")
    assert result.json() == [] and "a file that prints" in result.err


def test_findings_of_config_files_agents_and_settings_come_together(made: Project) -> None:
    made.agent("lamp", LAMP, settings={"color": "red", "watts": "many"})
    made.agent("broken", "def It(:\n")
    made.agent("classless", LAMP, class_name="Itt")
    made.agent("homeless", LAMP, host="pc3")
    made.agent("lonely", LAMP, depends_on=[{"service": "nobody", "soft": True}])
    (made.root / "config" / "agents" / "fileless.yaml").write_text("class: agents/none.py:It\nhosts: [pc2]\n")
    rows = {(row["file"], row["line"]): row for row in found(made)}
    texts = {place: row["message"] + " " + (row["hint"] or "") for place, row in rows.items()}
    assert "no valid Python" in texts["agents/broken.py", 1]
    assert "no class Itt" in texts["agents/classless.py", None] and "did you mean It?" in texts["agents/classless.py",
                                                                                                None]
    settings = [row["message"] for row in found(made) if row["code"] == "agent_setting"]
    assert any("there is no setting 'color'" in text and "did you mean 'colour'?" in text for text in settings)
    assert any("setting 'watts': expected int" in text for text in settings)
    assert {row["file"] for row in found(made) if row["code"] == "agent_setting"} == {"config/agents/lamp.yaml"}
    assert all(row["line"] == 3 for row in found(made) if row["code"] == "agent_setting")
    assert any("pc3" in text for (file, _), text in texts.items() if file == "config/agents/homeless.yaml")
    assert any("none.py" in text for (file, _), text in texts.items() if file == "config/agents/fileless.yaml")
    assert [row["severity"] for row in found(made)][-1] == "note" and "nobody" in found(made)[-1]["message"]
    assert run(made.root, "check").code == 2


def test_the_findings_for_people_are_a_line_each_with_the_count_at_the_end(made: Project) -> None:
    made.agent("lamp", LAMP, settings={"watts": "many"})
    result = run(made.root, "check")
    assert result.out.splitlines()[0].startswith("config/agents/lamp.yaml:3: error: lamp: setting 'watts'")
    assert result.out.splitlines()[-1] == "1 error"


def test_a_setting_from_a_variable_is_named_by_it(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made.agent("lamp", LAMP)
    monkeypatch.setenv("MESH_AGENTS__LAMP__SETTINGS__WATTS", "many")
    (row,) = found(made)
    assert row["message"].startswith("env MESH_AGENTS__LAMP__SETTINGS__WATTS: lamp: setting 'watts'")


def test_an_agent_is_not_loaded_twice_nor_left_out_because_the_hosts_file_is_wrong(made: Project) -> None:
    made.agent("broken", "def It(:\n")
    hosts = made.root / "config" / "hosts.yaml"
    hosts.write_text(hosts.read_text() + "colour: red\n")
    codes = [row["code"] for row in found(made)]
    assert codes.count("agent_does_not_load") == 1 and "unknown_key" in codes


def test_it_starts_nothing(made: Project) -> None:
    made.agent("lamp", LAMP.replace("print(", "import mesh; print("))
    assert run(made.root, "check").code == 0
    assert not made.home.exists()
