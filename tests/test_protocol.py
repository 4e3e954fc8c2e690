"""docs/protocol.md says what the code does: its tables are compared, and a client written from it alone works."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zmq

from mesh import errorbus, records, wire
from mesh.errors import WIRE_ERRORS, Overloaded
from mesh.message import MAX_DEPTH, MAX_ITEMS, Event, Reply, Request, decode, encode
from mesh.supervisor.control.control import operations
from mesh.transport import outbox, outside, subscriptions, window
from registry.service import RegistryService
from tests.eventually import eventually
from tests.protocol_client import CallFailed, Client, Refused
from tests.transport.ends import KEYS, Host, host, on_a_loop
from tests.transport.test_streams import Made, counting

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return the text below a heading, to the next one of the same rank."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def table(text: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is `first`."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell: str) -> list[str]:
    """Return what stands in code marks."""
    return re.findall(r"`([^`]+)`", cell)


# --- the page and the code --------------------------------------------------------------------------------------------


def test_the_page_has_the_version_of_the_code() -> None:
    assert re.findall(r"^Protocol version: \*\*(\d+)\*\*$", PAGE, re.MULTILINE) == [str(wire.VERSION)]


def test_every_heading_is_listed_at_the_top() -> None:
    listed = re.findall(r"^\d+\. \[(.+?)\]\(#(.+?)\)$", PAGE, re.MULTILINE)
    assert [title for title, _ in listed] == re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title, _ in listed] == [to for _, to in listed]


FIELD_TYPES = {
    "uint": wire._NUMBER, "text": wire._TEXT, "text?": wire._NAME_OR_NIL, "path": wire._PATH, "trace": wire._TRACE,
    "trace?": wire._TRACE_OR_NIL, "real": wire._REAL, "bins": wire._BODIES,
}


def test_every_kind_stands_with_its_number_and_its_fields() -> None:
    told = {}
    for number, name, _, fields in table(section("Envelopes"), "kind"):
        types = [field.partition(":")[2] for field in names(fields)]
        told[int(number)] = name, [FIELD_TYPES.get(kind, "bin") for kind in types]
    bytes_fields = (wire._BIN, wire._BODY)
    assert told == {
        int(kind): (kind.name, ["bin" if field in bytes_fields else field for field in wire._FIELDS[kind]])
        for kind in wire.Kind
    }


def test_every_error_code_stands_with_what_it_carries() -> None:
    rows = table(section("Errors"), "code")
    assert {names(code)[0]: names(carried) for code, _, carried, _ in rows} == {
        code: list(error.carries) for code, error in WIRE_ERRORS.items()
    }
    assert {names(code)[0]: again.startswith("yes") for code, again, _, _ in rows} == {
        code: error.retryable for code, error in WIRE_ERRORS.items()
    }


def test_every_field_of_a_greeting_stands_there() -> None:
    cell = wire.Hello("home", "cell", "lamp", 1, token="once")
    frame = wire.decode_frame(wire.frame(0, 0, [wire.hello(cell)]))
    who = decode(frame.envelopes[0][2])
    assert [names(row[0])[0] for row in table(section("Greeting"), "field")] == list(who)


def test_every_operation_of_host_and_registry_stands_there() -> None:
    told = [name for row in table(section("The host's operations"), "operation") for name in names(row[0])]
    assert sorted(told) == sorted(operations())
    rows = table(section("The registry's operations"), "operation")
    assert {names(row[0])[0]: set(names(row[1])) for row in rows} == {
        name: set(model.model_fields) for name, (model, _) in RegistryService.OPERATIONS.items()
    }


def test_every_argument_of_a_hosts_operation_stands_there() -> None:
    compiled = operations()
    for cells in table(section("The host's operations"), "operation"):
        for name in names(cells[0]):
            assert names(cells[1]) == [
                each.name + ("" if each.required else "?") for each in compiled[name][1].signature.parameters
            ]


def test_every_field_of_a_row_of_the_table_stands_there() -> None:
    rows = {row[0]: names(row[1]) for row in table(section("The registry's operations"), "row")}
    host_row = records.HostRecord("a", 1, "", 0, 0, "", "", "ok", 0).to_wire()
    instance = records.InstanceRecord("a", "b", 1, "ready").to_wire()
    for told, fields, states in (
        (rows["host"], host_row, records.HOST_STATES), (rows["instance"], instance, records.CELL_STATES)
    ):
        assert [name for name in told if name in fields] == list(fields)
        assert [name for name in told if name not in fields] == [" ".join(states)]


def test_every_field_of_an_error_record_stands_there() -> None:
    told = [name for row in table(section("History and live"), "field") for name in names(row[0])]
    assert sorted(told) == sorted(errorbus.ErrorRecord.model_fields)
    assert f"`{' '.join(errorbus.Severity)}`" in PAGE


def test_every_field_of_an_outside_event_stands_there() -> None:
    told = {names(row[0])[0] for row in table(section("Readers outside the mesh"), "field")}
    event = {"v", "seq", "boot", "host", "topic", "time", "origin", "data"}
    assert told == event | {"omitted", "repeat"}
    assert f"| `v` | int | {outside.VERSION}," in PAGE
    assert f"over {outside.MAX_DATA:,} bytes" in PAGE
    assert f"at most {subscriptions.PREFIXES} of at most\n{subscriptions.PREFIX_BYTES} bytes" in PAGE


def test_the_limits_are_those_of_the_code() -> None:
    told = {row[0]: row[1] for row in table(section("Limits"), "what")}
    expected: Mapping[str, object] = {
        "frame": f"{wire.MAX_FRAME:,}", "envelopes in a frame": wire.MAX_ENVELOPES,
        "str in an envelope's header": f"{wire.MAX_HEADER:,}",
        "header of a CALL (everything but the body)": f"{wire.MAX_HEADER:,}",
        "bin in a frame": f"{wire.CHUNK:,} bytes; the part of a CHUNK {wire.MAX_PART:,}",
        "body": f"{wire.MAX_BODY:,}", "path": wire.MAX_HOPS, "interest": f"{wire.MAX_PATTERNS:,}",
        "depth of a body": MAX_DEPTH, "items of one array or map in a body": f"{MAX_ITEMS:,}",
        "unacknowledged parts of big envelopes": f"{window.MOST:,} bytes, {window.FIRST:,} at first",
        "calls that wait for one peer": f"{outbox.CALL_BYTES >> 20} MiB",
        "credit of a stream": f"{wire.MAX_CREDIT:,}", "items of a stream not taken": f"{wire.STREAM_BYTES:,}",
    }
    for what, limit in expected.items():
        assert re.match(rf"{limit}\b", told[what]), what


def test_the_frame_shown_in_hexadecimal_is_what_the_code_makes() -> None:
    shown = re.search(r"```hex\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    data = bytes.fromhex("".join(line.partition("#")[0] for line in shown[1].splitlines()))
    trace = wire._read_trace(b"\x01" * 16 + b"\x02" * 8 + bytes(8) + b"\x00")
    request = Request("kb", "echo", encode({"a": 1}), 35.0, trace, "me")
    assert data == wire.frame(5000, 0, [bytes(wire.call(1, request))])
    number, again = wire.read_call(wire.decode_frame(data).envelopes[0], 0.0, "")
    assert (number, again) == (1, request)


# --- a client written from the page -----------------------------------------------------------------------------------


def test_the_client_knows_nothing_of_the_mesh() -> None:
    tree = ast.parse((ROOT / "tests" / "protocol_client.py").read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "os", "time", "collections", "collections.abc", "typing", "msgpack", "zmq"}


class Callee:
    """What the client calls: remembers what was cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def handle(self, request: Request) -> Reply:
        self.begun.append(request.target)
        match request.operation:
            case "echo":
                return Reply(request.body, host="mainpc")
            case "full":
                return Reply(error=Overloaded("too much to do", retry_after=0.5), host="mainpc")
            case "who":
                return Reply(encode([request.via, request.caller, request.to_host]), host="mainpc")
            case "count":
                return Reply(host="mainpc", items=Made(counting(Reply(request.body).value()["most"])))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.target)
            raise
        raise AssertionError("never set")


def connect(context: Any, to: Host, name: str = "operator") -> Client:
    return Client(context, to.endpoint, server_key=to.key.public, public=KEYS[name].public, secret=KEYS[name].secret)


@on_a_loop
async def test_a_client_written_from_the_page_alone_can_do_everything() -> None:
    callee = Callee()
    async with host("mainpc", callee.handle) as mainpc:
        context = zmq.Context()
        client = await asyncio.to_thread(connect, context, mainpc)
        try:
            welcome = await asyncio.to_thread(client.greet, "home", ["memory.*"])
            assert (welcome["mesh"], welcome["host"], welcome["kind"]) == ("home", "mainpc", "host")

            assert await asyncio.to_thread(client.call, "kb.echo", {"text": "hello"}) == {"text": "hello"}
            assert await asyncio.to_thread(client.call, "kb.who", {}) == ["operator", "tiny", None]

            with pytest.raises(CallFailed) as caught:
                await asyncio.to_thread(client.call, "kb.full", {})
            assert caught.value.code == "overloaded"
            assert caught.value.details == {"message": "too much to do", "retry_after": 0.5}

            number = client.begin("kb.slow", {})
            await eventually(lambda: "kb.slow" in callee.begun)
            client.cancel(number)
            with pytest.raises(CallFailed) as caught:
                await asyncio.to_thread(client.finish, number)
            assert caught.value.code == "cancelled"
            assert callee.cancelled == ["kb.slow"]

            counted = await asyncio.to_thread(lambda: list(client.stream("kb.count", {"most": 50}, credit=8)))
            assert counted == [*range(50)]
            assert await asyncio.to_thread(lambda: list(client.stream("kb.echo", {"a": 1}, credit=8))) == [{"a": 1}]
            endless = client.stream("kb.count", {"most": None}, credit=8)
            assert [await asyncio.to_thread(next, endless) for _ in range(30)] == [*range(30)]
            await asyncio.to_thread(endless.close)
            await eventually(lambda: len(mainpc.session_of("tiny")) == 0)

            happened = Event("memory.added", encode({"id": 7}), "kb@mainpc", 1.5)
            mainpc.listener.publish(happened._replace(topic="errors.error.mainpc.kb"))
            mainpc.listener.publish(happened)
            event = await asyncio.to_thread(client.next_event)
            assert event == {"topic": "memory.added", "origin": "kb@mainpc", "payload": {"id": 7}}
            client.listen(["errors.#"])
            await eventually(lambda: "errors.x" in mainpc.session_of("tiny").interest)
            mainpc.listener.publish(happened._replace(topic="errors.x"))
            await asyncio.to_thread(client.next_event)

            big = bytes(range(256)) * 4096
            echoed = await asyncio.to_thread(client.call, "kb.echo", {"picture": big})
            assert echoed == {"picture": big}
            assert (client.lost, mainpc.traffic.undecodable, mainpc.troubles) == (0, 0, [])
        finally:
            client.close()
            context.term()


@on_a_loop
async def test_a_client_of_another_mesh_is_told_so() -> None:
    async with host("mainpc") as mainpc:
        context = zmq.Context()
        client = await asyncio.to_thread(connect, context, mainpc)
        try:
            with pytest.raises(Refused, match="this is mesh 'home', the peer belongs to mesh 'office'"):
                await asyncio.to_thread(client.greet, "office", [])
        finally:
            client.close()
            context.term()
