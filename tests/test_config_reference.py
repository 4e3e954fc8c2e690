"""docs/settings.md says what the models say: every key, with its type, its default and its meaning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from mesh.config import CODES, Limits
from mesh.config.schema import AgentSection, HostSection, HostsSection, RegistrySection
from mesh.config.variables import VARIABLES

ROOT = Path(__file__).parents[1]
HOSTS = "mesh: home\nregistry: {host: pc}\nhosts: {pc: {address: 127.0.0.1}}\n"
AGENT = '''\
from pathlib import Path
from typing import Literal

from pydantic import Field

from mesh import AgentConfig, Agent, Engine, operation


class Clock(Agent):
    """Tells the time.

    More about it.
    """

    class Config(AgentConfig):
        zones: list[str] = []
        """The zones it knows."""
        face: Literal["round", "square"] = Field("round", description="How it | looks.")
        offset_s: float = Field(0.5, ge=0, le=60)
        database: Path = Path("clock.db")
        engine: Engine = None

    @operation(idempotent=True)
    async def now(self) -> float:
        return 0.0
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return filled(tmp_path)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run(filled(tmp_path_factory.mktemp("project")))


def filled(folder: Path) -> Path:
    for name, text in {
        "config/hosts.yaml": HOSTS,
        "config/agents/clock.yaml": "class: agents/clock.py:Clock\nhosts: [pc]\n",
        "config/agents/broken.yaml": "class: agents/broken.py:Broken\nhosts: [pc]\n",
        "agents/clock.py": AGENT,
        "agents/broken.py": "raise RuntimeError('no')\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/settings_reference.py"), "--root", str(root), *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=120)


def test_the_page_of_this_repository_is_what_its_models_say() -> None:
    done = run(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_every_key_code_and_variable_is_on_the_page(printed: subprocess.CompletedProcess[str]) -> None:
    page = printed.stdout
    sections: list[tuple[str, type[BaseModel]]] = [
        ("", HostsSection),
        ("registry.", RegistrySection),
        ("hosts.<name>.", HostSection),
        ("limits.", Limits),
    ]
    for before, model in sections:
        for name in model.model_fields:
            assert f"\n| `{before}{name}` |" in page
    for name, field in AgentSection.model_fields.items():
        assert f"\n| `{field.alias or name}` |" in page
    for word in (*CODES, *VARIABLES):
        assert f"\n| `{word}` |" in page


def test_the_settings_of_an_agent_are_those_of_its_class(printed: subprocess.CompletedProcess[str]) -> None:
    page = printed.stdout
    assert "### `clock`\n\nTells the time.\n\n| key |" in page
    assert "| `zones` | list of text | `[]` | The zones it knows. |" in page
    assert '| `face` | `round` or `square` | `"round"` | How it \\| looks. |' in page
    assert "| `offset_s` | number, 0 to 60 | `0.5` |  |" in page
    assert '| `database` | path | `"clock.db"` |  |' in page
    assert "| `engine.base_url` | text | required | Such as " in page


def test_an_agent_that_does_not_load_is_left_out_and_named(printed: subprocess.CompletedProcess[str]) -> None:
    assert printed.returncode == 0
    assert "### `broken`" not in printed.stdout
    assert "broken is left out: " in printed.stderr


def test_a_page_that_says_something_else_fails_the_check_with_the_line_and_the_command(project: Path) -> None:
    assert run(project, "--check").returncode == 1
    assert run(project, "--write").returncode == 0
    assert run(project, "--check").returncode == 0
    page = project / "docs/settings.md"
    page.write_text(page.read_text(encoding="utf-8").replace("# Settings", "# Setings"), encoding="utf-8")
    done = run(project, "--check")
    assert done.returncode == 1
    assert (
        "docs/settings.md:1 is not what the models say; run `python tools/settings_reference.py --write`" in done.stderr
    )


def test_a_wrong_configuration_ends_with_its_findings(project: Path) -> None:
    (project / "config/hosts.yaml").write_text("mesh: home\n", encoding="utf-8")
    done = run(project)
    assert done.returncode == 2
    assert "config/hosts.yaml:1: `hosts` is missing" in done.stderr
