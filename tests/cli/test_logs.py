"""`mesh logs` shows what every process of every host wrote, in one order, also when a host is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.logs import since_of
from mesh.errors import UsageError
from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project, project

TALKER = '''
    import sys
    import time

    from mesh import Agent, operation


    class It(Agent):
        """Talks to the log."""

        async def setup(self) -> None:
            self.log.info("set up")

        @operation
        async def say(self, text: str, level: str = "info") -> None:
            getattr(self.log, level)("said %s", text)

        @operation
        async def show(self, text: str) -> None:
            print("printed", text)
            print("complained", text, file=sys.stderr)

        @operation
        def block(self, text: str) -> None:
            self.log.info("from a thread: %s", text)

        @operation
        async def both(self, text: str) -> None:
            await self.request("other.say", text=text)
            self.log.info("after %s", text)

        @operation
        async def flood(self, lines: int, size: int) -> None:
            for number in range(lines):
                self.log.info("flood %d %s", number, "x" * size)

        @operation
        async def fail(self) -> None:
            try:
                raise ValueError("dark")
            except ValueError:
                self.log.exception("it failed")
'''


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with project(tmp_path_factory.mktemp("talking")) as made:
        made.agent("talker", TALKER)
        made.agent("other", TALKER, host="pc2", isolation="thread")
        made.agent("apart", TALKER, host="pc2", isolation="process")
        with (made.root / "config" / "hosts.yaml").open("a") as file:
            file.write("logs: {megabytes: 2}\n")
        made.up()
        yield made


def rows(made: Project, *words: str) -> list[dict[str, Any]]:
    """Return the lines of one `mesh logs --json`."""
    import json

    return [json.loads(line) for line in run(made.root, "logs", "--json", *words).out.splitlines()]


def messages(made: Project, *words: str) -> list[str]:
    return [row["message"] for row in rows(made, *words)]


def say(made: Project, target: str, **arguments: Any) -> str:
    answer = made.call(target, **arguments)
    assert answer["ok"], answer
    return str(answer["trace_id"])


def test_every_process_of_every_host_is_in_it_in_order_of_time(talking: Project) -> None:
    found = rows(talking, "--limit", "5000")
    assert {(row["host"], row["service"]) for row in found} >= {
        ("mainpc", "supervisor"), ("mainpc", "registry"), ("mainpc", "launcher"), ("pc2", "launcher"),
        ("mainpc", "talker"), ("pc2", "other")}
    assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    assert [row["operation"] for row in found if row["message"] == "set up"] == ["setup"] * 3


def test_a_line_says_service_operation_and_trace_wherever_the_code_ran(talking: Project) -> None:
    trace_id = say(talking, "talker.both", text="x1")
    found = rows(talking, "--trace", trace_id[:8])
    assert [(row["host"], row["service"], row["operation"], row["message"]) for row in found] == [
        ("pc2", "other", "say", "said x1"), ("mainpc", "talker", "both", "after x1")]
    assert {row["trace_id"] for row in found} == {trace_id}
    threaded = say(talking, "other.block", text="x2")
    assert [row["trace_id"] for row in rows(talking, "--service", "other") if "x2" in row["message"]] == [threaded]


def test_what_an_agent_prints_is_in_it(talking: Project) -> None:
    trace_id = say(talking, "talker.show", text="p1")
    found = rows(talking, "--trace", trace_id)
    assert [(row["logger"], row["level"], row["service"], row["operation"], row["message"]) for row in found] == [
        ("stdout", "info", "talker", "show", "printed p1"), ("stderr", "warning", "talker", "show", "complained p1")]


def test_an_agent_in_a_process_of_its_own_is_in_it_like_any_other(talking: Project) -> None:
    trace_id = say(talking, "apart.show", text="p2")
    found = rows(talking, "--trace", trace_id)
    assert [(row["logger"], row["host"], row["service"], row["operation"], row["message"]) for row in found] == [
        ("stdout", "pc2", "apart", "show", "printed p2"), ("stderr", "pc2", "apart", "show", "complained p2")]
    trace_id = say(talking, "apart.both", text="x3")
    assert [(row["service"], row["message"]) for row in rows(talking, "--trace", trace_id)] == [
        ("other", "said x3"), ("apart", "after x3")]


def test_lines_are_chosen_by_service_host_and_level(talking: Project) -> None:
    say(talking, "talker.say", text="c1", level="warning")
    say(talking, "other.say", text="c2")
    assert messages(talking, "--service", "talker", "--level", "warning")[-1] == "said c1"
    assert messages(talking, "--service", "other")[-1] == "said c2"
    assert {row["host"] for row in rows(talking, "--host", "pc2")} == {"pc2"}
    assert messages(talking, "--limit", "1", "--service", "other") == ["said c2"]


def test_since_shows_all_there_is_since_then(talking: Project) -> None:
    for number in range(3):
        say(talking, "talker.say", text=f"s{number}")
    found = messages(talking, "--since", "30s", "--limit", "1", "--service", "talker")
    assert {"said s0", "said s1", "said s2"} <= set(found)
    assert messages(talking, "--since", "2099-01-01") == []


def test_people_see_time_host_level_place_message_and_traceback(talking: Project) -> None:
    trace_id = say(talking, "talker.fail")
    done = run(talking.root, "logs", "--trace", trace_id)
    first, *rest = done.out.splitlines()
    assert first.split()[1:4] == ["mainpc", "error", "talker.fail"] and "it failed" in first
    assert trace_id[:12] in first and "\x1b" not in done.out
    assert any("ValueError: dark" in line for line in rest) and all(line.startswith("    ") for line in rest)


def test_a_long_line_is_wrapped_to_the_terminal(talking: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    trace_id = say(talking, "talker.say", text=" ".join(["word"] * 60))
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(talking.root, "logs", "--trace", trace_id).out.splitlines()
    assert len(lines) > 3 and all(len(line) <= 80 for line in lines)
    assert sum(line.count("word") for line in lines) == 60


@pytest.mark.parametrize(("words", "told"), [
    (("--level", "warn"), "did you mean warning?"), (("--since", "soon"), "--since is 'soon'"),
    (("--host", "pc3"), "there is no host 'pc3'"),
])
def test_a_wrong_wish_is_refused(talking: Project, words: tuple[str, ...], told: str) -> None:
    done = run(talking.root, "logs", *words)
    assert done.code == 2 and told in done.err


def test_following_shows_each_line_once_in_order_also_over_rotation(talking: Project) -> None:
    with following(talking, "logs", "-f", "--json", "--service", "talker", "--limit", "1") as it:
        wait_until(lambda: it.rows(), 20)
        for _ in range(5):  # a file takes 200 kB here, so each turn fills more than one
            say(talking, "talker.flood", lines=250, size=1000)
        say(talking, "talker.say", text="the end")
        wait_until(lambda: "said the end" in it.text, 30)
        found = [row["message"].split()[1] for row in it.rows() if row["message"].startswith("flood")]
        assert found == [str(number) for number in range(250)] * 5
        times = [row["time"] for row in it.rows()]
        assert times == sorted(times)
        assert it.interrupt() == 130
    logs = talking.home / "mainpc" / "logs"
    assert sum(path.stat().st_size for path in logs.iterdir()) <= 2_200_000
    assert (logs / "supervisor.log.2").exists()


def test_following_merges_two_hosts(talking: Project) -> None:
    with following(talking, "logs", "-f", "--json", "--limit", "1") as it:
        wait_until(lambda: it.rows(), 20)
        for number in range(5):
            say(talking, "talker.both", text=f"m{number}")
        wait_until(lambda: "after m4" in it.text, 20)
        found = [row["message"] for row in it.rows() if row["service"] in ("talker", "other")]
        assert found[-10:] == [text for number in range(5) for text in (f"said m{number}", f"after m{number}")]
        it.interrupt()


def test_a_host_that_died_is_said_so_and_its_last_lines_are_shown(talking: Project) -> None:
    say(talking, "other.say", text="last words")
    with following(talking, "logs", "-f", "--limit", "1") as it:
        wait_until(lambda: it.text.strip(), 20)
        pid = talking.kill("pc2")
        wait_until(lambda: f"(pid {pid}) was killed by SIGKILL" in it.text, 30)
        wait_until(lambda: "set up" in it.text.partition("SIGKILL")[2], 60)
        it.interrupt()


def test_with_no_host_left_this_machines_files_are_shown(talking: Project) -> None:
    say(talking, "other.say", text="before the end")
    assert run(talking.root, "down").code == 0
    done = run(talking.root, "logs", "--service", "other")
    assert done.code == 1 and "said before the end" in done.out
    assert "pc2 does not tell its logs" in done.err and "disk" in done.err


def test_without_hosts_and_without_files_nothing_can_be_shown(tmp_path: Path) -> None:
    with project(tmp_path) as made:
        done = run(made.root, "logs")
        assert done.code == 3 and "mesh up" in done.err


@pytest.mark.parametrize(("text", "back"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("1.5min", 90)])
def test_a_span_of_time_is_counted_back(text: str, back: float) -> None:
    assert since_of(text, 1_800_000_000.0) == 1_800_000_000.0 - back


def test_a_time_of_day_or_a_date_is_a_moment() -> None:
    now = time.mktime((2027, 3, 4, 12, 0, 0, 0, 0, -1))
    assert since_of("10:30", now) == now - 5400
    assert since_of("2027-03-04T10:30", now) == now - 5400
    with pytest.raises(UsageError, match="--since is 'yesterday'"):
        since_of("yesterday", now)
