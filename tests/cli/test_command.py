"""Wrong calls and failures cost one or two lines and the right exit code; help lists what there is and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mesh import __version__
from mesh.cli.commands import app
from mesh.cli.guard import guarded
from mesh.errors import ConfigError, DeadlineExceeded, MeshError, MeshUnreachable, RemoteFailure, UsageError
from tests.cli.runner import run
from tests.project import Project, project

PROGRAM: Any = typer.main.get_command(app)
COMMANDS = {"": set(PROGRAM.commands),
            **{name: set(group.commands) for name, group in PROGRAM.commands.items() if hasattr(group, "commands")}}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


def listed(help_text: str) -> list[str]:
    return [text.split()[0] for text in help_text.partition("Commands:\n")[2].splitlines() if text.startswith("  ")
            and not text.startswith("   ")]


@pytest.mark.parametrize("group", COMMANDS)
def test_help_lists_the_commands_there_are(group: str) -> None:
    result = run(None, *([group] if group else []), "--help")
    assert result.code == 0 and set(listed(result.out)) == COMMANDS[group]


@pytest.mark.parametrize("words", [[name] for name in sorted(COMMANDS[""] - {*COMMANDS} - {""})] + [
    [group, name] for group, names in COMMANDS.items() if group for name in names
])
def test_every_command_says_what_it_does_and_takes_the_common_options(words: list[str]) -> None:
    told = run(None, *words, "--help").out
    assert all(option in told for option in ("--config", "--environment", "--debug", "--timeout", "--json"))
    assert told.split("\n\n")[1].strip()


def test_help_imports_neither_zmq_nor_pydantic() -> None:
    source = ("import sys; from mesh.cli import main; main(['--help']); "
              "print([name for name in ('zmq', 'pydantic', 'yaml', 'msgpack', 'psutil', 'rich', 'asyncio') "
              "if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("words", "told"), [
    (["statsu"], "No such command 'statsu'. Did you mean 'status'?\n`mesh --help` shows"),
    (["agent", "stpo"], "No such command 'stpo'. Did you mean 'stop'?\n`mesh agent --help` shows"),
    (["describe"], "Missing argument 'SERVICE'.\n`mesh describe --help` shows"),
    (["agents", "--colour"], "No such option: --colour\n`mesh agents --help` shows"),
    (["status", "--timeout", "soon"], "Invalid value for '--timeout'"),
    (["status", "--timeout", "0"], "--timeout is 0; give seconds above zero"),
    (["agents", "--state", "raedy"], "--state is 'raedy', which is none of stopped, starting"),
    (["agents", "--sort", "call"], "--sort is 'call', which is none of service, host"),
    (["call", "lamp"], "'lamp' does not name an operation; write service.operation"),
    (["call", "lamp.shine", "red"], "'red' is no argument; write key=value"),
    (["call", "lamp.shine", "--data", "{"], "--data is no JSON"),
    (["call", "lamp.shine", "--data", "[1]"], "--data holds array [1]"),
    (["publish", "Lamp.Lit"], "'Lamp.Lit' is no topic"),
    (["publish", "lamp.lit", "--data", "red"], "--data is no JSON"),
    (["events", "tail", "lamp.#.lit"], "'lamp.#.lit' is no topic pattern"),
    (["errors", "--severity", "eror"], "--severity is 'eror', which is none of debug, info"),
    (["errors", "tail", "--severity", "eror"], "did you mean error?"),
    (["errors", "show", "12"], "'12' is no error id; ids look like pc2-000123"),
    (["ask", " "], "there is nothing to ask"),
    (["up", "--host", "pc3"], "there is no host 'pc3', the mesh has mainpc, pc2; did you mean pc2?"),
    (["down", "--host", "pc3"], "there is no host 'pc3'"),
    (["keys", "show", "--host", "pc3"], "there is no host 'pc3'"),
    (["up", "--no-launcher"], "write mesh up --host NAME --no-launcher"),
])
def test_a_wrong_call_says_what_is_wrong_and_how_it_is_right(made: Project, words: list[str], told: str) -> None:
    result = run(made.root, *words)
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("mesh: ") and told in result.err
    assert len(result.err.splitlines()) <= 2


@pytest.mark.parametrize("words", [
    ["status"], ["agents"], ["describe", "lamp"], ["call", "lamp.shine"], ["publish", "a.b"], ["events", "tail"],
    ["errors"], ["errors", "tail"], ["errors", "show", "pc2-000001"], ["ask", "hello"], ["agent", "stop", "lamp"],
])
def test_without_a_host_to_talk_to_the_exit_code_is_3(made: Project, words: list[str]) -> None:
    result = run(made.root, *words)
    assert result.code == 3 and result.out == ""
    assert "no host of mesh 'test' answers" in result.err and "`mesh up`" in result.err


@pytest.mark.parametrize("words", [["status"], ["check"], ["up"], ["down"], ["keys", "show"]])
def test_outside_a_project_the_way_into_one_is_told(tmp_path: Path, words: list[str]) -> None:
    result = run(tmp_path, *words)
    assert result.code == 2 and "there is no mesh project here" in result.err and "--config DIR" in result.err


@pytest.mark.parametrize("group", COMMANDS)
def test_without_a_command_the_help_is_the_answer(group: str) -> None:
    if group == "errors":  # which is a command itself
        return
    result = run(None, *([group] if group else []))
    assert result.code == 2 and result.err.startswith("Usage: mesh ") and set(listed(result.err)) == COMMANDS[group]


def test_text_in_another_encoding_is_refused_as_such() -> None:
    result = run(None, "ask", os.fsdecode(b"caf\xe9"))
    assert result.code == 2 and "is no UTF-8 text" in result.err and "LANG" in result.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_streams_may_be_closed(made: Project, closed: str) -> None:
    for command, code in (("check", 0), ("ask hello", 3)):
        assert subprocess.run(f"{sys.executable} -m mesh.cli {command} {closed}", shell=True, cwd=made.root,
                              capture_output=True, text=True).returncode == code


def test_a_config_with_an_error_is_refused_with_file_and_line(made: Project) -> None:
    (made.root / "config" / "agents" / "lamp.yaml").write_text("clas: agents/lamp.py:It\n")
    result = run(made.root, "status")
    assert result.code == 2 and "config/agents/lamp.yaml:1" in result.err and "clas" in result.err


def test_options_before_the_command_count_for_it_and_its_own_come_first(made: Project, tmp_path: Path) -> None:
    assert run(None, "--config", str(made.root), "check").code == 0
    assert run(None, "--config", str(tmp_path / "nowhere"), "check", "--config", str(made.root)).code == 0
    assert run(made.root, "--environment", "produktion", "check").code == 2
    assert run(made.root, "--environment", "produktion", "check", "--environment", "development").code == 0


def test_options_of_a_group_count_for_its_commands(made: Project) -> None:
    assert "no host of mesh 'test'" in run(None, "errors", "--config", str(made.root), "tail").err


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(("error", "code"), [
    (MeshError("failed"), 1), (RemoteFailure("failed"), 1), (UsageError("failed"), 2), (ConfigError("failed"), 2),
    (MeshUnreachable("failed"), 3), (DeadlineExceeded("failed"), 4),
])
def test_an_error_of_the_mesh_is_its_message_and_the_code_of_its_class(
    error: MeshError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), debug=False) == code
    assert capsys.readouterr() == ("", "mesh: failed\n")


def test_any_other_error_is_one_line_that_names_it_and_debug_shows_the_rest(
    capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(KeyError("x")), debug=False) == 1
    assert capsys.readouterr().err == "mesh: unexpected KeyError: 'x'; run it again with --debug to see where\n"
    assert guarded(raising(KeyError("x")), debug=True) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_ends_a_command_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_goes_away_ends_a_command_without_a_word(made: Project) -> None:
    for number in range(1_000):
        (made.root / "config" / "agents" / f"lamp_{number}.yaml").write_text("clas: nothing\n")
    done = subprocess.run(f"{sys.executable} -m mesh.cli check | head -n 1", shell=True, cwd=made.root,
                          capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1


def test_the_version_is_the_packages() -> None:
    assert run(None, "--version").out == f"mesh {__version__}\n"
