"""The in-memory mesh: what an author's tests stand on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mesh import (
    Agent,
    AgentConfig,
    Cancelled,
    InvalidArgument,
    Overloaded,
    Unavailable,
    UnknownService,
    Unreachable,
    operation,
    subscribe,
)
from mesh.testing import FakeClock, InMemoryMesh, RecordedEvent, in_mesh
from mesh.testing.clock import settle
from tests.supervisor.plain import asleep

ROOT = Path(__file__).resolve().parents[2]


class Notes(Agent):
    """Keeps notes."""

    class Config(AgentConfig):
        most: int = 10

    notes: list[str]

    async def setup(self) -> None:
        self.notes = (await self.get_latest_state() or {"notes": []})["notes"]

    @operation
    async def add(self, text: str) -> None:
        if len(self.notes) >= self.config.most:
            raise Overloaded("the book is full", retry_after=60.0)
        self.notes.append(text)
        await self.save_state({"notes": self.notes})
        await self.publish("note.added", {"text": text})

    @operation(idempotent=True)
    async def all(self) -> list[str]:
        return self.notes

    @operation
    async def wait(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return f"{seconds:g}"

    @operation
    async def ask(self, host: str | None = None) -> Any:
        return await self.options(to_host=host).request("lamp.light")


class Echo(Agent):
    """Says what it hears."""

    @subscribe("note.*")
    async def hear(self, payload: Any, topic: str) -> None:
        await self.publish("echo.said", {"topic": topic, "by": f"{self.service}@{self.host}"})

    @operation
    async def light(self) -> str:
        return f"{self.service}@{self.host}"


# -- what an author writes


AUTHOR = '''
from mesh.testing import InMemoryMesh, in_mesh


@in_mesh
async def test_remembers(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", "notes.py:Notes")
    await mesh.request("notes.add", text="milk")
    assert await mesh.request("notes.all") == ["milk"]


@in_mesh
async def test_fails(mesh: InMemoryMesh) -> None:
    assert await mesh.request("notes.all") == []


@in_mesh
async def test_hangs(mesh: InMemoryMesh) -> None:
    import asyncio
    await mesh.add("notes", "notes.py:Notes")
    waiting = asyncio.ensure_future(mesh.request("notes.wait"))
    await mesh.clock.advance(1)
    assert waiting.done(), "and the call is still there"
'''
AGENT = '''
from mesh import Agent, operation


class Notes(Agent):
    """Keeps notes."""

    async def setup(self) -> None:
        self.notes: list[str] = []

    @operation
    async def add(self, text: str) -> None:
        self.notes.append(text)

    @operation
    async def all(self) -> list[str]:
        return self.notes

    @operation
    async def wait(self) -> None:
        await self.clock.sleep(1000)
'''


def test_the_five_lines_of_an_author_work_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_notes.py").write_text(AUTHOR)
    (tmp_path / "notes.py").write_text(AGENT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_notes.py"], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "UnknownService: no host ever configured or announced a service notes" in done.stdout
    assert "and the call is still there" in done.stdout


@pytest.fixture
def word() -> str:
    return "milk"


@in_mesh
async def test_other_parameters_are_fixtures(mesh: InMemoryMesh, word: str, tmp_path: Path) -> None:
    await mesh.add("notes", Notes)
    await mesh.request("notes.add", text=word)
    assert await mesh.request("notes.all") == ["milk"] and tmp_path.name


@pytest.mark.parametrize("number", [1, 2])
@in_mesh
async def test_a_test_of_it_can_be_parametrised(mesh: InMemoryMesh, number: int) -> None:
    assert mesh.events == [] and number in (1, 2)


def test_a_test_keeps_its_name_and_its_docstring() -> None:
    @in_mesh
    async def test_something(mesh: InMemoryMesh) -> None:
        """Says what."""

    assert (test_something.__name__, test_something.__doc__) == ("test_something", "Says what.")


# -- agents


@in_mesh
async def test_an_agent_is_a_class_a_file_or_the_one_of_the_project(
    mesh: InMemoryMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.py").write_text(AGENT)
    await mesh.add("one", Notes, settings={"most": 1})
    await mesh.request("one.add", text="milk")
    with pytest.raises(Overloaded):
        await mesh.request("one.add", text="bread")
    await mesh.add("two", f"{tmp_path}/notes.py:Notes")
    assert await mesh.request("two.all") == []
    monkeypatch.chdir(ROOT / "tests")
    cell = await mesh.add("session_memory")
    assert cell.spec.file == ROOT / "agents" / "mainpc" / "session_memory.py" and cell.state.serving


@in_mesh
async def test_an_agent_that_does_not_come_up_says_why(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("notes", Notes, settings={"mots": 1})
    assert cell.state == "backoff" and "did you mean 'most'?" in cell.lifecycle.reason
    with pytest.raises(Unavailable, match="did you mean 'most'"):
        await mesh.request("notes.all")


@in_mesh
async def test_limits_are_those_of_the_config_but_for_what_is_given(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("notes", Notes, limits={"concurrency": 1, "inbox": 1})
    assert (cell.spec.limits.concurrency, cell.spec.limits.inbox, cell.spec.limits.stop_s) == (1, 1, 5.0)


@in_mesh
async def test_a_restart_keeps_what_was_saved_and_nothing_else(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("notes", Notes)
    await mesh.request("notes.add", text="milk")
    before = cell.incarnation
    assert await mesh.restart("notes") is cell and cell.incarnation > before
    assert await mesh.request("notes.all") == ["milk"]


@in_mesh
async def test_a_restart_ends_calls_that_outlast_it(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", Notes)
    short, long = (asyncio.create_task(mesh.request("notes.wait", seconds=seconds)) for seconds in (3, 1000))
    await settle()
    await mesh.restart("notes")
    assert await short == "3"
    with pytest.raises(Cancelled):
        await long
    assert await mesh.request("notes.all") == []


@in_mesh
async def test_an_agent_that_was_not_added_is_said(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", Notes)
    with pytest.raises(InvalidArgument, match="no agent nots was added to this mesh; it has notes"):
        mesh.cell("nots")
    with pytest.raises(InvalidArgument, match="no agent nots"):
        await mesh.restart("nots")
    with pytest.raises(UnknownService, match="did you mean notes"):
        await mesh.request("nots.all")


@in_mesh
async def test_folders_and_states_of_services_are_apart(mesh: InMemoryMesh) -> None:
    for service, host in (("one", None), ("two", None), ("one", "pc2")):
        await mesh.add(service, Notes, host=host)
    await mesh.request("one.add", text="milk")
    assert await mesh.request("two.all") == []
    assert await mesh.request("one.all", to_host="pc2") == []
    assert await mesh.request("one.all", to_host="mainpc") == ["milk"]


def test_a_folder_and_a_clock_may_be_given(tmp_path: Path) -> None:
    async def scenario(notes: list[str]) -> None:
        async with InMemoryMesh(tmp_path, FakeClock(now=5.0)) as mesh:
            assert mesh.clock.monotonic() == 5.0
            await mesh.add("notes", Notes)
            assert await mesh.request("notes.all") == notes
            await mesh.request("notes.add", text="milk")

    asyncio.run(scenario([]))
    asyncio.run(scenario(["milk"]))
    assert (tmp_path / "mainpc" / "state.db").exists()


# -- the end of a test


def test_whatever_still_runs_ends_with_the_test() -> None:
    journal: list[str] = []

    class Busy(Agent):
        """Is never done."""

        async def teardown(self) -> None:
            journal.append("teardown")

        @operation
        async def work(self) -> None:
            try:
                await self.clock.sleep(1000)
            finally:
                journal.append("ended")

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        await mesh.add("busy", Busy)
        mesh.fake("hanging", hang=lambda: asyncio.Event().wait())
        for target in ("busy.work", "hanging.hang"):
            journal.append(target)
            background.add(asyncio.ensure_future(mesh.request(target)))
        await settle()

    background: set[asyncio.Future[Any]] = set()
    scenario()
    assert journal == ["busy.work", "hanging.hang", "ended", "teardown"]


def test_a_folder_of_its_own_is_gone_after_the_test() -> None:
    async def scenario() -> Path:
        async with InMemoryMesh() as mesh:
            await mesh.add("notes", Notes)
            await mesh.request("notes.add", text="milk")
            assert mesh._folder.is_dir()
            return mesh._folder

    assert not asyncio.run(scenario()).exists()


# -- events and reports


@in_mesh
async def test_events_are_recorded_in_order_whoever_published_them(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", Notes)
    await mesh.add("echo", Echo, host="pc2")
    await mesh.request("notes.add", text="milk")
    await mesh.publish("note.removed", 3, origin="eraser@pc2")
    assert mesh.events_on("note.*") == [
        RecordedEvent("note.added", {"text": "milk"}, "notes@mainpc"), RecordedEvent("note.removed", 3, "eraser@pc2"),
    ]
    assert [event.payload["topic"] for event in mesh.events_on("echo.#")] == ["note.added", "note.removed"]
    assert {event.origin for event in mesh.events_on("echo.#")} == {"echo@pc2"}


@in_mesh
async def test_reports_are_recorded_with_everything_known_of_them(mesh: InMemoryMesh) -> None:
    class Reporting(Agent):
        """Tells on itself."""

        @operation
        async def tell(self, severity: str) -> None:
            await self.report("noticed", severity=severity, place="here")

    await mesh.add("reporting", Reporting, host="pc2")
    await mesh.request("reporting.tell", severity="warning")
    (report,) = mesh.reports
    assert (report.id, report.host, report.service, report.operation) == ("pc2-000001", "pc2", "reporting", "tell")
    assert (report.severity, report.message, report.context) == ("warning", "noticed", {"place": "here"})
    (event,) = mesh.events_on("errors.#")
    assert event.topic == "errors.warning.pc2.reporting" and event.payload["id"] == report.id
    with pytest.raises(InvalidArgument, match="did you mean 'warning'"):
        await mesh.request("reporting.tell", severity="warnin")


# -- several hosts


@in_mesh
async def test_a_host_that_is_cut_off_is_unreachable_from_both_sides_until_it_is_mended(mesh: InMemoryMesh) -> None:
    for host in ("mainpc", "pc2", "pc3"):
        await mesh.add(f"lamp_{host}", Echo, host=host)
    await mesh.add("notes", Notes, host="pc2")
    mesh.fake("lamp", host="pc3", light="on")
    assert await mesh.request("notes.ask") == "on"
    mesh.cut("pc2")
    with pytest.raises(Unreachable, match=r"lamp_pc2\.light: pc2 cannot be reached from mainpc") as caught:
        await mesh.request("lamp_pc2.light")
    assert caught.value.details == {"began": "no"}
    assert await mesh.request("lamp_pc3.light") == "lamp_pc3@pc3"
    await mesh.publish("note.added", 1)
    await mesh.publish("note.added", 2, origin="somebody@pc2")
    said = [event.payload["by"] for event in mesh.events_on("echo.said")]
    assert sorted(said) == ["lamp_mainpc@mainpc", "lamp_pc2@pc2", "lamp_pc3@pc3"]
    mesh.mend("pc2")
    assert await mesh.request("lamp_pc2.light") == "lamp_pc2@pc2"


@in_mesh
async def test_a_host_that_is_cut_off_reaches_nobody(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", Notes)
    mesh.fake("lamp", host="pc2", light="on")
    mesh.cut("mainpc")
    with pytest.raises(Unreachable, match=r"lamp\.light: pc2 cannot be reached from mainpc"):
        await mesh.request("notes.ask")
    assert await mesh.request("notes.all") == [], "itself it reaches"


@in_mesh
async def test_one_that_is_meant_is_the_one_that_answers(mesh: InMemoryMesh) -> None:
    for host in ("mainpc", "pc2", "pc3"):
        await mesh.add("lamp", Echo, host=host)
    await mesh.add("notes", Notes)
    assert await mesh.request("lamp.light") == "lamp@mainpc", "the nearest"
    for host in ("pc2", "pc3"):
        assert await mesh.request("lamp.light", to_host=host) == f"lamp@{host}"
        assert await mesh.request("notes.ask", host=host) == f"lamp@{host}"
    with pytest.raises(Unavailable):
        await mesh.request("lamp.light", to_host="pc4")


# -- time


@in_mesh
async def test_time_passes_only_by_the_clock(mesh: InMemoryMesh) -> None:
    await mesh.add("notes", Notes)
    call = asyncio.create_task(mesh.request("notes.wait", seconds=20))
    await mesh.clock.advance(19.9)
    assert not call.done()
    await mesh.clock.advance(0.1)
    assert await call == "20"


@in_mesh
async def test_a_call_waits_for_one_that_is_about_to_be_ready(mesh: InMemoryMesh) -> None:
    class Slow(Notes):
        """Takes a second."""

        async def setup(self) -> None:
            await self.clock.sleep(1)
            await super().setup()

    adding = asyncio.create_task(mesh.add("notes", Slow))
    await asleep(mesh.clock, 1.0)
    call = asyncio.create_task(mesh.request("notes.all"))
    given_up = asyncio.create_task(mesh.request("notes.all"))
    await settle()
    given_up.cancel()
    await mesh.clock.advance(1)
    assert await call == [] and (await adding).state == "ready"
