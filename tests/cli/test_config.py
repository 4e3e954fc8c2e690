"""`mesh config`: what is in force and why, and changes that reach running agents whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.cli.config import _as_given
from tests.cli.runner import run
from tests.project import Project, project

LIVE = '''
    import asyncio

    from pydantic import BaseModel, Field, SecretStr

    from mesh import Agent, AgentConfig, operation


    class Engine(BaseModel):
        model: str = "small"
        timeout_s: float = 2.0


    class It(Agent):
        """Takes most changes over while it runs."""

        class Config(AgentConfig):
            word: str = "hello"
            most: int = Field(default=10, ge=1)
            names: list[str] = []
            engine: Engine = Engine()
            key: SecretStr = SecretStr("hidden")

        config: Config

        async def setup(self) -> None:
            self.changes: list[list[object]] = []

        async def on_config(self, new: Config, old: Config) -> None:
            if new.word == "silence":
                raise ValueError("an agent that greets cannot be silent")
            self.changes.append([old.word, new.word, self.config.word])

        @operation(idempotent=True)
        async def greet(self) -> dict[str, object]:
            return {"word": self.config.word, "most": self.config.most, "model": self.config.engine.model,
                    "changes": self.changes}

        @operation
        async def hold(self, seconds: float) -> str:
            await asyncio.sleep(seconds)
            return self.config.word
'''
PLAIN = '''
    import asyncio

    from mesh import Agent, AgentConfig, operation


    class It(Agent):
        """Reads its settings when it starts."""

        class Config(AgentConfig):
            word: str = "hello"
            pause: float = 0.0

        config: Config

        async def setup(self) -> None:
            self.word = self.config.word
            if self.word == "crash":
                raise ValueError("no such word")
            await asyncio.sleep(self.config.pause)

        @operation(idempotent=True)
        async def greet(self, seconds: float = 0.0) -> str:
            await asyncio.sleep(seconds)
            return self.word
'''


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("config")) as made:
        made.agent("live", LIVE, settings={"most": 20, "engine": {"timeout_s": 5.0}})
        made.agent("plain", PLAIN, host="pc2", settings={"word": "good day"})
        made.agent("apart", LIVE, isolation="process")
        made.agent("broken", PLAIN, settings={"word": "crash"})
        made.agent("both", PLAIN)
        config = made.root / "config" / "agents" / "both.yaml"
        config.write_text(config.read_text().replace('["mainpc"]', '["mainpc", "pc2"]'))
        made.up()
        yield made


@pytest.fixture(autouse=True)
def as_it_was(mesh: Project) -> Iterator[None]:
    yield
    for row in run(mesh.root, "config", "diff", "--json").json():
        if row["override"]:
            assert run(mesh.root, "config", "unset", row["service"], row["key"]).code == 0


def rows(mesh: Project, service: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in run(mesh.root, "config", "get", service, "--json").json()}


def agent(mesh: Project, service: str, host: str) -> dict[str, Any]:
    return next(row for row in run(mesh.root, "agents", "--json").json()
                if (row["service"], row["host"]) == (service, host))


def call(mesh: Project, target: str) -> Any:
    return run(mesh.root, "call", target, "--json").json()["result"]


# -- what is in force


def test_every_value_is_told_with_where_it_came_from(mesh: Project) -> None:
    told = rows(mesh, "live")
    assert told["word"] == {"key": "word", "value": "hello", "origin": "default", "override": False,
                            "default": "hello", "file": None}
    assert (told["most"]["value"], told["most"]["default"]) == (20, 10)
    assert told["most"]["origin"] == "config/agents/live.yaml:3" == told["most"]["file"]["origin"]
    assert (told["engine.timeout_s"]["value"], told["engine.timeout_s"]["default"]) == (5.0, 2.0)
    assert told["engine.timeout_s"]["origin"] == "config/agents/live.yaml:3"
    assert told["engine.model"]["origin"] == "default" and told["limits.inbox"]["value"] == 1024
    assert told["isolation"]["value"] == "coroutine"
    assert "hidden" not in str(told)


def test_one_value_is_printed_as_it_is(mesh: Project) -> None:
    assert run(mesh.root, "config", "get", "live", "most").out == "20\n"
    assert run(mesh.root, "config", "get", "live", "settings.word").out == "hello\n"
    section = run(mesh.root, "config", "get", "live", "engine", "--json").json()
    assert [row["key"] for row in section] == ["engine.model", "engine.timeout_s"]
    wrong = run(mesh.root, "config", "get", "live", "mots")
    assert wrong.code == 2 and "live has no setting 'mots'; did you mean most?" in wrong.err
    assert "did you mean live?" in run(mesh.root, "config", "get", "lvie").err


def test_people_see_a_table(mesh: Project) -> None:
    run(mesh.root, "config", "set", "live", "most", "30")
    out = run(mesh.root, "config", "get", "live").out
    line = next(text for text in out.splitlines() if text.startswith("most"))
    assert line.split() == ["most", "30", "override", "20", "(config/agents/live.yaml:3)", "10"]


# -- changes


def test_a_change_reaches_a_running_agent_without_a_restart(mesh: Project) -> None:
    before = agent(mesh, "live", "mainpc")
    done = run(mesh.root, "config", "set", "live", "word", "ahoy", "--json").json()
    assert (done["ok"], done["value"], done["now"]["origin"]) == (True, "ahoy", "override")
    assert [(row["host"], row["how"]) for row in done["hosts"]] == [("mainpc", "live")]
    told = call(mesh, "live.greet")
    assert told["word"] == "ahoy" and told["changes"][-1] == ["hello", "ahoy", "hello"]
    assert agent(mesh, "live", "mainpc")["incarnation"] == before["incarnation"]
    result = run(mesh.root, "config", "unset", "live", "word")
    assert result.code == 0 and "word of live is hello  (default)" in result.out and "without a restart" in result.out
    assert call(mesh, "live.greet")["word"] == "hello"


def test_a_section_is_changed_key_by_key(mesh: Project) -> None:
    assert run(mesh.root, "config", "set", "live", "engine.model", "large").code == 0
    told = rows(mesh, "live")
    assert (told["engine.model"]["value"], told["engine.timeout_s"]["value"]) == ("large", 5.0)
    assert call(mesh, "live.greet")["model"] == "large"


def test_an_agent_without_the_hook_is_started_anew(mesh: Project) -> None:
    before = agent(mesh, "plain", "pc2")
    result = run(mesh.root, "config", "set", "plain", "word", "servus")
    assert result.code == 0
    assert result.out == "word of plain is servus  (override)\n    on pc2: started anew with it, no call lost\n"
    after = agent(mesh, "plain", "pc2")
    assert after["incarnation"] > before["incarnation"] and after["state"] == "ready"
    assert after["restarts"] == before["restarts"]
    assert call(mesh, "plain.greet") == "servus"


def test_every_host_that_runs_the_service_follows(mesh: Project) -> None:
    done = run(mesh.root, "config", "set", "both", "word", "moin", "--json").json()
    assert [(row["host"], row["how"]) for row in sorted(done["hosts"], key=lambda row: str(row["host"]))] == [
        ("mainpc", "restarted"), ("pc2", "restarted")]
    for host in ("mainpc", "pc2"):
        assert run(mesh.root, "call", "both.greet", "--to-host", host, "--json").json()["result"] == "moin"


def test_values_are_read_as_their_type_says(mesh: Project) -> None:
    for text in ("30", "true", "[a]"):
        assert run(mesh.root, "config", "set", "live", "word", text).code == 0
        assert rows(mesh, "live")["word"]["value"] == text
    assert run(mesh.root, "config", "set", "live", "names", "[Ada, 'Grace H']").code == 0
    assert rows(mesh, "live")["names"]["value"] == ["Ada", "Grace H"]


@pytest.mark.parametrize(("key", "value", "told"), [
    ("wrod", "x", "there is no setting 'wrod' (found 'x' (str)), did you mean 'word'?"),
    ("most", "many", "setting 'most': expected int, found 'many'"),
    ("most", "0", "setting 'most': expected int, found 0"),
    ("engine.modle", "x", "did you mean 'model'?"),
    ("limits.concurrency", "0", "`limits.concurrency` must be more than 0"),
    ("limits.concurency", "5", "did you mean `concurrency`?"),
    ("isolation", "thraed", "`isolation` takes"),
    ("a..b", "1", "there is no setting 'a..b'"),
])
def test_what_the_agent_does_not_take_is_refused_before_anything_changes(
    mesh: Project, key: str, value: str, told: str
) -> None:
    before = agent(mesh, "live", "mainpc")
    result = run(mesh.root, "config", "set", "live", key, value)
    assert result.code == 2 and told in result.err
    assert [row for row in run(mesh.root, "config", "diff", "--json").json() if row["override"]] == []
    assert agent(mesh, "live", "mainpc")["incarnation"] == before["incarnation"]


def test_what_the_hook_refuses_is_rolled_back(mesh: Project) -> None:
    run(mesh.root, "config", "set", "live", "word", "ahoy")
    result = run(mesh.root, "config", "set", "live", "word", "silence")
    assert result.code == 1
    assert "live on mainpc refused it: ValueError: an agent that greets cannot be silent" in result.out
    assert "rolled back: word of live is ahoy  (override)" in result.out
    assert call(mesh, "live.greet")["word"] == "ahoy"


def test_an_agent_that_does_not_come_up_with_it_goes_on_with_what_it_had(mesh: Project) -> None:
    done = run(mesh.root, "config", "set", "plain", "word", "crash", "--json")
    told = done.json()
    assert done.code == 1 and told["rolled_back"] and "no such word" in told["hosts"][0]["reason"]
    assert (told["now"]["value"], told["now"]["override"]) == ("good day", False)
    assert call(mesh, "plain.greet") == "good day" and agent(mesh, "plain", "pc2")["state"] == "ready"


def test_calls_made_during_a_change_are_all_answered(mesh: Project) -> None:
    stop = threading.Event()
    answers: list[Any] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(mesh.call("plain.greet", seconds=0.2))

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    for word in ("one", "two", "three"):
        assert mesh.mesh("config", "set", "plain", "pause", {"one": "0.4", "two": "0.1", "three": "0.3"}[word]
                         ).returncode == 0
        assert mesh.mesh("config", "set", "plain", "word", word).returncode == 0
    stop.set()
    for caller in callers:
        caller.join(30)
    assert [answer for answer in answers if not answer["ok"]] == []
    assert {answer["result"] for answer in answers} <= {"good day", "one", "two", "three"} and len(answers) > 10


def test_limits_count_at_once_and_isolation_after_a_start(mesh: Project) -> None:
    before = agent(mesh, "live", "mainpc")
    done = run(mesh.root, "config", "set", "live", "limits.concurrency", "2", "--json").json()
    assert done["hosts"][0]["how"] == "live" and done["now"]["value"] == 2
    assert agent(mesh, "live", "mainpc")["incarnation"] == before["incarnation"]
    done = run(mesh.root, "config", "set", "live", "isolation", "thread", "--json").json()
    assert done["hosts"][0]["how"] == "restarted"
    assert agent(mesh, "live", "mainpc")["isolation"] == "thread"
    assert call(mesh, "live.greet")["word"] == "hello"
    done = run(mesh.root, "config", "set", "live", "word", "ahoy", "--json").json()
    assert done["hosts"][0]["how"] == "live" and call(mesh, "live.greet")["word"] == "ahoy"


def test_what_is_so_already_changes_nothing(mesh: Project) -> None:
    result = run(mesh.root, "config", "unset", "live", "word")
    assert result.code == 0 and "it was so already" in result.out
    assert run(mesh.root, "config", "set", "live", "most", "20", "--json").json()["hosts"][0]["how"] == "unchanged"
    wrong = run(mesh.root, "config", "unset", "live", "wrod")
    assert wrong.code == 2 and "did you mean word?" in wrong.err


def test_a_stopped_agent_takes_it_when_it_starts(mesh: Project) -> None:
    assert run(mesh.root, "agent", "stop", "plain").code == 0
    result = run(mesh.root, "config", "set", "plain", "word", "servus")
    assert result.code == 0 and "taken at its next start" in result.out
    assert run(mesh.root, "config", "set", "plain", "wrod", "servus").code == 2
    assert run(mesh.root, "agent", "start", "plain").code == 0
    assert call(mesh, "plain.greet") == "servus"


def test_the_difference_shows_overrides_files_and_defaults(mesh: Project) -> None:
    run(mesh.root, "config", "set", "live", "most", "30")
    run(mesh.root, "config", "set", "live", "word", "ahoy")
    told = {(row["service"], row["key"]): row for row in run(mesh.root, "config", "diff", "--json").json()}
    assert told["live", "most"]["file"] == {"value": 20, "origin": "config/agents/live.yaml:3"}
    assert (told["live", "most"]["value"], told["live", "most"]["default"]) == (30, 10)
    assert told["live", "word"]["file"] is None and told["live", "word"]["override"]
    assert told["plain", "word"]["host"] == "pc2" and not told["plain", "word"]["override"]
    assert ("live", "names") not in told
    out = run(mesh.root, "config", "diff", "live").out
    assert next(line.split() for line in out.splitlines() if " most " in line) == [
        "live", "mainpc", "most", "30", "20", "10", "config/agents/live.yaml:3"]
    assert "plain" not in out


def test_an_agent_in_a_process_of_its_own_takes_changes_over_as_well(mesh: Project) -> None:
    before = agent(mesh, "apart", "mainpc")
    done = run(mesh.root, "config", "set", "apart", "word", "ahoy", "--json").json()
    assert done["hosts"][0]["how"] == "live" and done["now"]["value"] == "ahoy"
    assert call(mesh, "apart.greet")["word"] == "ahoy"
    assert agent(mesh, "apart", "mainpc")["pid"] == before["pid"]
    result = run(mesh.root, "config", "set", "apart", "word", "silence")
    assert result.code == 1 and "refused it: ValueError: an agent that greets cannot be silent" in result.out
    wrong = run(mesh.root, "config", "set", "apart", "mots", "5")
    assert wrong.code == 2 and "did you mean 'most'" in wrong.err
    assert run(mesh.root, "agent", "stop", "apart").code == 0
    wrong = run(mesh.root, "config", "set", "apart", "most", "many")
    assert wrong.code == 2 and "expected int" in wrong.err
    assert run(mesh.root, "agent", "start", "apart").code == 0


def test_an_agent_moves_into_a_process_and_back_without_a_lost_call(mesh: Project) -> None:
    stop = threading.Event()
    answers: list[Any] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(mesh.call("plain.greet", seconds=0.1))

    caller = threading.Thread(target=ask)
    caller.start()
    host = agent(mesh, "live", "mainpc")["pid"]
    for isolation in ("process", "thread", "process", "coroutine"):
        done = mesh.json("config", "set", "plain", "isolation", isolation)
        assert done["ok"] and done["hosts"][0]["how"] == "restarted"
        row = agent(mesh, "plain", "pc2")
        assert row["isolation"] == isolation and row["state"] == "ready" and row["pid"] != host
    stop.set()
    caller.join(30)
    assert [answer for answer in answers if not answer["ok"]] == [] and len(answers) > 4


def test_one_that_does_not_run_keeps_each_change_until_it_does(mesh: Project) -> None:
    result = run(mesh.root, "config", "set", "broken", "pause", "0.01")
    assert result.code == 1 and "no such word" in result.out
    assert rows(mesh, "broken")["pause"]["override"]
    result = run(mesh.root, "config", "set", "broken", "word", "servus")
    assert result.code == 0 and call(mesh, "broken.greet") == "servus"
    assert rows(mesh, "broken")["pause"]["value"] == 0.01
    refused = run(mesh.root, "config", "unset", "broken", "word")
    assert refused.code == 1 and "rolled back" in refused.out and call(mesh, "broken.greet") == "servus"
    assert run(mesh.root, "agent", "stop", "broken").code == 0


def test_of_a_section_that_was_unset_it_is_told_what_it_is_now() -> None:
    rows: list[dict[str, Any]] = [
        {"key": "policies.cache.ttl_s", "value": None, "origin": "default"},
        {"key": "policies.cache.redis", "value": True, "origin": "default"},
        {"key": "policies.retry.attempts", "value": 3, "origin": "default"},
    ]
    done: dict[str, Any] = {"key": "policies.cache", "value": None, "unset": True}
    assert _as_given(done, rows) == {"key": "policies.cache", "value": {"ttl_s": None, "redis": True},
                                     "origin": "default"}
    rows[0]["origin"] = "config/agents/kb.yaml:4"
    assert _as_given(done, rows)["origin"] == "files and defaults"
    assert _as_given({**done, "unset": False, "value": 5}, rows)["value"] == 5
