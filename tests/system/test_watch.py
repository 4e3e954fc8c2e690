"""`mesh up --watch`: whoever saves a file sees it run, or is told what is wrong while the old code goes on."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import wait_until
from tests.project import Project, project

SOON = 30.0

GREETER = '''
from agents_mainpc.words import WORD

from mesh import Agent, AgentConfig, operation


class It(Agent):
    """Greets."""

    class Config(AgentConfig):
        mark: str = "!"

    config: Config

    async def on_config(self, new: Config, old: Config) -> None:
        """Takes effect with the next greeting."""

    @operation(idempotent=True)
    async def greet(self) -> str:
        return f"{WORD} {VERSION}{self.config.mark}"


VERSION = 1
'''


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        folder(given).mkdir(parents=True)
        save(given, "words.py", 'WORD = "hello"\n')
        add(given, "greeter", GREETER)
        add(given, "other", GREETER.replace("from agents_mainpc.words import WORD", 'WORD = "other"'), host="pc2")
        yield given


def folder(made: Project) -> Path:
    return made.root / "agents" / "mainpc"


def save(made: Project, name: str, text: str) -> None:
    """Save as many editors do: to a new file that takes the place of the old."""
    fresh = folder(made) / f".{name}.tmp"
    fresh.write_text(text)
    fresh.replace(folder(made) / name)


def add(made: Project, service: str, source: str, *, host: str = "mainpc", **config: Any) -> None:
    save(made, f"{service}.py", source)
    made.agent(service, source, host=host, **config)
    (made.root / "agents" / f"{service}.py").unlink()
    file = made.root / "config" / "agents" / f"{service}.yaml"
    file.write_text(file.read_text().replace("agents/", "agents/mainpc/", 1))


def said(made: Project, up: subprocess.Popen[str], text: str) -> None:
    wait_until(lambda: text in made.output(up), SOON)


def answers(made: Project, service: str, text: str) -> None:
    wait_until(lambda: made.call(f"{service}.greet").get("result") == text, SOON)


def row(made: Project, service: str) -> dict[str, Any]:
    return next(row for row in made.json("agents") if row["service"] == service)


def test_a_saved_agent_runs_at_once_and_a_broken_save_changes_nothing(made: Project) -> None:
    up = made.up("--watch")
    other = row(made, "other")["incarnation"]
    answers(made, "greeter", "hello 1!")
    save(made, "greeter.py", GREETER.replace("VERSION = 1", "VERSION = 2"))
    answers(made, "greeter", "hello 2!")
    said(made, up, "agents/mainpc/greeter.py was saved")
    for version in (3, 4, 5):  # within the second that bytecode can tell, and of the same size
        save(made, "greeter.py", GREETER.replace("VERSION = 1", f"VERSION = {version}"))
        answers(made, "greeter", f"hello {version}!")
    save(made, "greeter.py", GREETER.replace("return f", "return return f"))
    said(made, up, "greeter goes on as it was: agents/mainpc/greeter.py was saved, but greeter: ")
    said(made, up, "greeter.py line 20 is no valid Python")
    assert made.call("greeter.greet")["result"] == "hello 5!"
    errors = made.json("errors", "--service", "greeter")
    assert any("line 20 is no valid Python" in group["message"] for group in errors)
    save(made, "greeter.py", GREETER.replace("VERSION = 1", "VERSION = 6"))
    answers(made, "greeter", "hello 6!")
    assert row(made, "other")["incarnation"] == other and row(made, "greeter")["restarts"] == 0


def test_one_whose_setup_fails_goes_on_with_the_code_it_had(made: Project) -> None:
    up = made.up("--watch")
    setup = '    async def setup(self) -> None:\n        raise OSError("no disk")\n\n'
    failing = GREETER.replace("    @operation", f"{setup}    @operation").replace("VERSION = 1", "VERSION = 2")
    save(made, "greeter.py", failing)
    said(made, up, "greeter goes on as it was: agents/mainpc/greeter.py was saved, but agents/mainpc/greeter.py:19: "
                   "OSError: no disk")
    assert made.call("greeter.greet")["result"] == "hello 1!" and row(made, "greeter")["state"] == "ready"
    save(made, "greeter.py", GREETER.replace("VERSION = 1", "VERSION = 3"))
    answers(made, "greeter", "hello 3!")


def test_what_an_agent_imports_counts_as_its_own(made: Project) -> None:
    up = made.up("--watch")
    save(made, "words.py", 'WORD = "servus"\n')
    answers(made, "greeter", "servus 1!")
    save(made, "words.py", "WORD = \n")
    said(made, up, "agents/mainpc/words.py was saved, but")
    assert made.call("greeter.greet")["result"] == "servus 1!"
    save(made, "words.py", 'from agents_mainpc.more import MORE\n\nWORD = "moin" + MORE\n')
    save(made, "more.py", 'MORE = ","\n')
    answers(made, "greeter", "moin, 1!")
    save(made, "more.py", 'MORE = ";"\n')
    answers(made, "greeter", "moin; 1!")


def test_config_is_followed_and_agents_come_and_go(made: Project) -> None:
    up = made.up("--watch")
    incarnation = row(made, "greeter")["incarnation"]
    config = made.root / "config" / "agents" / "greeter.yaml"
    config.write_text(config.read_text() + "settings: {mark: '?'}\n")
    answers(made, "greeter", "hello 1?")
    said(made, up, "greeter has taken its new configuration over (live)")
    assert row(made, "greeter")["incarnation"] == incarnation
    good = config.read_text()
    config.write_text(good.replace("settings", "setings"))
    said(made, up, "did you mean `settings`?")
    config.write_text(good)
    add(made, "third", GREETER, host="pc2")
    said(made, up, "third is new and ready")
    assert made.call("third.greet")["result"] == "hello 1!" and row(made, "third")["host"] == "pc2"
    (made.root / "config" / "agents" / "third.yaml").unlink()
    said(made, up, "third was stopped: it is not configured here any more")
    wait_until(lambda: not made.call("third.greet")["ok"], SOON)
    assert [each["service"] for each in made.json("agents")] == ["greeter", "other"]


def test_an_agent_that_never_came_up_is_started_by_the_save_that_heals_it(made: Project) -> None:
    add(made, "greeter", GREETER.replace("VERSION = 1", "VERSION = 1 / 0"))
    made.up("--watch")
    wait_until(lambda: row(made, "greeter")["state"] == "quarantined", SOON)
    save(made, "greeter.py", GREETER)
    answers(made, "greeter", "hello 1!")


def test_a_process_cell_follows_its_file_too(made: Project) -> None:
    add(made, "greeter", GREETER, isolation="process")
    up = made.up("--watch")
    pid = row(made, "greeter")["pid"]
    save(made, "greeter.py", GREETER.replace("VERSION = 1", "VERSION = 2"))
    answers(made, "greeter", "hello 2!")
    assert row(made, "greeter")["pid"] != pid
    save(made, "greeter.py", "def It(:\n")
    said(made, up, "greeter goes on as it was")
    assert made.call("greeter.greet")["result"] == "hello 2!"


def test_no_call_is_lost_while_its_agent_is_saved_again_and_again(made: Project) -> None:
    made.up("--watch")
    stop = threading.Event()
    answered: list[Any] = []

    def ask() -> None:
        while not stop.is_set():
            answered.append(made.call("greeter.greet"))

    caller = threading.Thread(target=ask)
    caller.start()
    for version in range(2, 6):
        save(made, "greeter.py", GREETER.replace("VERSION = 1", f"VERSION = {version}"))
        answers(made, "greeter", f"hello {version}!")
    stop.set()
    caller.join(SOON)
    assert len(answered) >= 3 and [one for one in answered if not one["ok"]] == []


def test_outside_development_nobody_watches(made: Project) -> None:
    hosts = made.root / "config" / "hosts.yaml"
    hosts.write_text(hosts.read_text() + "environments: {production: {}}\n")
    done = made.mesh("up", "--watch", "--environment", "production")
    assert done.returncode == 2 and "the environment is production: leave --watch out" in done.stderr
    assert not os.path.exists(made.home)
