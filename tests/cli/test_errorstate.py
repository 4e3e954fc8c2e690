"""`mesh errors ack|mute` change a group on every host that has it, and what happens again is treated accordingly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project, project

FLAKY = '''
    from mesh import Agent, operation


    class It(Agent):
        """Fails in two ways."""

        @operation
        async def blow(self, why: str) -> None:
            raise ValueError(why)

        @operation
        async def burst(self, why: str) -> None:
            raise KeyError(why)
'''


@pytest.fixture(scope="module")
def flaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("flaky")) as made:
        made.agent("flaky", FLAKY, hosts=["mainpc", "pc2"], policies={"breaker": None})
        made.up()
        yield made


def fail(made: Project, host: str = "mainpc", how: str = "blow") -> str:
    """Make it fail on a host and return the error's id."""
    answer = run(made.root, "call", f"flaky.{how}", "why=dark", "--to-host", host, "--json").json()
    return str(answer["error"]["error_id"])


def states(made: Project, *words: str) -> dict[tuple[str, str], str]:
    """Return the state of each group of the agent by host and type."""
    rows = run(made.root, "errors", "--service", "flaky", "--json", *words).json()
    return {(row["host"], row["type"]): row["state"] for row in rows}


def fingerprint(made: Project, kind: str = "ValueError") -> str:
    rows = run(made.root, "errors", "--all", "--service", "flaky", "--json").json()
    return next(str(row["fingerprint"]) for row in rows if row["type"] == kind)


def test_an_acknowledged_group_is_new_again_when_it_occurs_again(flaky: Project) -> None:
    fail(flaky)
    fail(flaky, "pc2")
    done = run(flaky.root, "errors", "ack", fingerprint(flaky)[:6])
    assert done.code == 0 and "is acknowledged: flaky on mainpc, pc2, ValueError: dark" in done.out
    assert states(flaky) == {("mainpc", "ValueError"): "acknowledged", ("pc2", "ValueError"): "acknowledged"}
    fail(flaky, "pc2")
    assert states(flaky) == {("mainpc", "ValueError"): "acknowledged", ("pc2", "ValueError"): "new"}
    assert run(flaky.root, "errors", "unack", fingerprint(flaky)).code == 0
    assert set(states(flaky).values()) == {"new"}


def test_a_muted_group_is_left_out_and_counted(flaky: Project) -> None:
    error_id = fail(flaky)
    changed = run(flaky.root, "errors", "mute", error_id, "--for", "2h", "--json").json()
    assert {row["state"] for row in changed} == {"muted"} and all(row["until"] > row["last_seen"] for row in changed)
    before = {row["host"]: row["count"] for row in changed}
    assert ("mainpc", "ValueError") not in states(flaky)
    fail(flaky)
    counts = {row["host"]: row["count"] for row in run(flaky.root, "errors", "--all", "--json").json()
              if row["type"] == "ValueError"}
    assert counts["mainpc"] == before["mainpc"] + 1
    with following(flaky, "errors", "tail", "--json", until="so far") as it:
        fail(flaky)
        shown = fail(flaky, how="burst")
        wait_until(lambda: shown in it.text, 20)
        assert "ValueError" not in [row["type"] for row in it.rows()[-1:]]
        it.interrupt()
    done = run(flaky.root, "errors", "unmute", fingerprint(flaky))
    assert done.code == 0 and "no longer muted" in done.out and ("mainpc", "ValueError") in states(flaky)


def test_several_groups_are_named_at_once_and_only_fitting_ones_change(flaky: Project) -> None:
    fail(flaky)
    fail(flaky, how="burst")
    done = run(flaky.root, "errors", "unmute", fingerprint(flaky), fingerprint(flaky, "KeyError"))
    assert done.code == 0 and "nothing changed: none of them is muted" in done.out
    both: list[dict[str, Any]] = run(flaky.root, "errors", "ack", fingerprint(flaky), fingerprint(flaky, "KeyError"),
                                     "--json").json()
    assert {row["type"] for row in both} == {"ValueError", "KeyError"}


@pytest.mark.parametrize(("words", "code", "told"), [
    (("ack", "zzzzzz"), 1, "no host keeps an error with the fingerprint zzzzzz"), (("ack", "a"), 2, "too short"),
    (("mute", "abcdef", "--for", "soon"), 2, "--for is 'soon'"),
    (("ack", "mainpc-999999"), 1, "mainpc keeps no error mainpc-999999"),
])
def test_a_wrong_name_is_refused_in_words(flaky: Project, words: tuple[str, ...], code: int, told: str) -> None:
    done = run(flaky.root, "errors", *words)
    assert done.code == code and told in done.err


def test_a_host_that_cannot_be_told_is_named(flaky: Project) -> None:
    fail(flaky)
    assert run(flaky.root, "down", "--host", "pc2").code == 0
    done = run(flaky.root, "errors", "ack", fingerprint(flaky))
    assert done.code == 1 and "pc2 was not told" in done.err and "flaky on mainpc" in done.out
