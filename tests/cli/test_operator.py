"""A command finds a host that answers, its own machine's first, and says what it found when none does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.address import is_own
from mesh.cli.candidates import candidates
from mesh.cli.operator import Operator
from mesh.config import MeshConfig, load
from mesh.errors import DeadlineExceeded, MeshUnreachable, Unreachable
from mesh.message import Event
from mesh.transport.keys import ensure_key, key_folder
from tests.cli.standin import stand_in
from tests.eventually import eventually
from tests.project import Project, project


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


@pytest.fixture
def config(made: Project) -> MeshConfig:
    """A mesh of two hosts that ran before: the operator has a key."""
    found = load(made.root)
    ensure_key(key_folder(found), "operator")
    return found


async def with_operator(config: MeshConfig, work: Callable[[Operator], Awaitable[None]], **options: Any) -> None:
    operator = Operator(config, timeout=options.pop("timeout", 5.0), **options)
    try:
        await operator.connect()
        await work(operator)
    finally:
        operator.close()


def refusal(config: MeshConfig, **options: Any) -> str:
    async def nothing(operator: Operator) -> None:
        raise AssertionError(f"{operator.host} answered")

    with pytest.raises(MeshUnreachable) as refused:
        asyncio.run(with_operator(config, nothing, **options))
    return refused.value.message


def test_the_first_host_that_answers_is_taken_and_forwards_for_the_others(config: MeshConfig) -> None:
    async def scenario() -> None:
        async with stand_in(config, "pc2", {"lamp.shine": lambda given: given["colour"]}) as host:
            async def work(operator: Operator) -> None:
                assert operator.host == "pc2"
                assert await operator.ask("lamp.shine", {"colour": "red"}, host="mainpc") == "red"
                assert host.asked == [("lamp.shine", {"colour": "red"}, "mainpc")]
                assert [session.kind for session in host.sessions] == ["operator"]

            await with_operator(config, work)

    asyncio.run(scenario())


def test_a_host_that_hangs_does_not_keep_the_next_one_from_answering(config: MeshConfig) -> None:
    async def scenario() -> None:
        with socket.socket() as deaf:
            deaf.bind((config.hosts["mainpc"].address, config.hosts["mainpc"].port))
            deaf.listen()
            async with stand_in(config, "pc2"):
                async def work(operator: Operator) -> None:
                    assert operator.host == "pc2"

                await with_operator(config, work)

    asyncio.run(scenario())


def test_when_nothing_listens_every_endpoint_is_named_with_the_command_that_starts_it(config: MeshConfig) -> None:
    told = refusal(config)
    for name, host in config.hosts.items():
        assert f"{name}: nothing listens at tcp://127.0.0.1:{host.port}" in told
    assert "no host of mesh 'test' answers" in told and "`mesh up`" in told
    assert len(told.splitlines()) == 2


def test_where_the_mesh_never_ran_that_is_said_and_no_key_is_made(made: Project) -> None:
    config = load(made.root)
    assert "the mesh never ran here, or the folder was deleted since" in refusal(config)
    assert not key_folder(config).exists()


def test_a_host_of_another_mesh_on_the_port_is_named(config: MeshConfig) -> None:
    async def scenario() -> str:
        async with stand_in(config, "mainpc", mesh="other"):
            operator = Operator(config, timeout=5.0)
            try:
                with pytest.raises(MeshUnreachable) as refused:
                    await operator.connect()
                return refused.value.message
            finally:
                operator.close()

    told = asyncio.run(scenario())
    assert "this is mesh 'other', the peer belongs to mesh 'test'" in told


def test_a_program_that_does_not_hold_the_hosts_key_is_told_apart_from_silence(config: MeshConfig) -> None:
    async def scenario() -> str:
        thief = config.model_copy(update={"home": config.root / "elsewhere"})
        async with stand_in(thief, "mainpc"):
            operator = Operator(config, timeout=5.0)
            try:
                with pytest.raises(MeshUnreachable) as refused:
                    await operator.connect()
                return refused.value.message
            finally:
                operator.close()

    assert "mainpc: tcp://127.0.0.1:" in (told := asyncio.run(scenario()))
    assert "did not prove the key" in told or "does not know this key" in told


def test_events_that_match_the_interest_arrive_and_others_do_not(config: MeshConfig) -> None:
    async def scenario() -> None:
        heard: list[Event] = []
        async with stand_in(config, "mainpc") as host:
            async def work(operator: Operator) -> None:
                host.publish("other.topic", 0)
                host.publish("lamp.lit", {"colour": "red"})
                await eventually(lambda: heard)
                assert [(event.topic, event.value()) for event in heard] == [("lamp.lit", {"colour": "red"})]

            await with_operator(config, work, interest=["lamp.*"], on_event=heard.append)

    asyncio.run(scenario())


def test_a_lost_connection_is_told_and_the_next_host_is_found(config: MeshConfig) -> None:
    async def scenario() -> None:
        lost: list[str] = []
        async with stand_in(config, "pc2", {"lamp.shine": lambda _: "light"}):
            first = stand_in(config, "mainpc")
            host = await first.__aenter__()

            async def work(operator: Operator) -> None:
                assert operator.host == "mainpc"
                host.close()
                await eventually(lambda: lost)
                assert "closed the connection" in lost[0]
                await operator.connect()
                assert operator.host == "pc2" and await operator.ask("lamp.shine") == "light"
                assert len(lost) == 1

            await with_operator(config, work, on_lost=lost.append)
        assert len(lost) == 1  # to close is not to lose

    asyncio.run(scenario())


def test_a_host_that_does_not_answer_has_its_error_in_the_place_of_the_value(config: MeshConfig) -> None:
    def answer(given: dict[str, Any]) -> Any:
        raise Unreachable("pc2 is away")

    async def scenario() -> None:
        async with stand_in(config, "mainpc", {"supervisor.status": answer}):
            async def work(operator: Operator) -> None:
                answers = await operator.ask_each("supervisor.status", ["mainpc", "pc2"])
                assert {type(value) for value in answers.values()} == {Unreachable}

            await with_operator(config, work)

    asyncio.run(scenario())


def test_the_time_of_a_command_is_shared_by_its_calls(config: MeshConfig) -> None:
    async def scenario() -> None:
        async with stand_in(config, "mainpc", {"lamp.shine": lambda _: "light"}):
            async def work(operator: Operator) -> None:
                assert await operator.ask("lamp.shine") == "light"
                await eventually(lambda: time.monotonic() - began > 0.4)
                with pytest.raises(DeadlineExceeded, match="--timeout"):
                    await operator.ask("lamp.shine")

            began = time.monotonic()
            await with_operator(config, work, timeout=0.4)

    asyncio.run(scenario())


def test_an_address_of_this_machine_is_known_as_such() -> None:
    assert is_own("127.0.0.1") and is_own("::1") and is_own("localhost")
    assert not is_own("192.0.2.1") and not is_own("no.such.host.invalid")


def test_hosts_of_this_machine_come_first(made: Project) -> None:
    (made.root / "config" / "hosts.yaml").write_text(
        "mesh: test\nsecurity: none\nregistry: {host: far, port: 7400}\nhosts:\n"
        "  far: {address: 192.0.2.1, port: 7410, events_port: 7411, metrics_port: 7412}\n"
        "  near: {address: 127.0.0.1, port: 7420, events_port: 7421, metrics_port: 7422}\n"
    )
    assert [peer.host for peer in candidates(load(made.root)).peers] == ["near", "far"]


def test_a_host_whose_key_is_not_known_is_left_out_with_the_command_that_shows_it(made: Project) -> None:
    (made.root / "config" / "hosts.yaml").write_text(
        "mesh: test\nregistry: {host: near, port: 7400}\nhosts:\n"
        "  near: {address: 127.0.0.1, port: 7420, events_port: 7421, metrics_port: 7422}\n"
        "  far: {address: 192.0.2.1, port: 7410, events_port: 7411, metrics_port: 7412}\n"
    )
    found = load(made.root)
    ensure_key(key_folder(found), "operator")
    tried = candidates(found)
    assert [peer.host for peer in tried.peers] == ["near"]
    assert tried.left_out[0].startswith("far at tcp://192.0.2.1:7410: its key is not known here (`mesh keys show`")
