"""What a row lets in, and what a snapshot may be."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from mesh import records
from mesh.errors import ProtocolError
from mesh.message import decode, encode
from mesh.records import HostRecord, InstanceRecord, inventory_hash, pack_snapshot, unpack_snapshot

HOST = HostRecord("pc2", 1790000000017, "192.168.1.11", 7420, 7421, "k" * 40, "0.1.0", "busy", 4242, "why", 12.5)
INSTANCE = InstanceRecord("nlu", "pc2", 7, "degraded", "no engine", ("parse", "train"))


@pytest.mark.parametrize("record", [HOST, INSTANCE])
def test_a_row_comes_back_from_the_wire_as_it_was(record: Any) -> None:
    assert type(record).from_wire(decode(encode(record.to_wire()))) == record


def test_a_row_may_grow_fields_that_this_version_does_not_know() -> None:
    assert HostRecord.from_wire({**HOST.to_wire(), "gpu": "none"}) == HOST
    assert InstanceRecord.from_wire({**INSTANCE.to_wire(), "isolation": "thread"}) == INSTANCE


@pytest.mark.parametrize(
    ("record", "change", "words"),
    [
        (HOST, {"port": "7420"}, "port of the host row is str '7420', expected int"),
        (HOST, {"port": True}, "port of the host row is bool True, expected int"),
        (HOST, {"state": "fine"}, "state of the host row is 'fine', expected one of ok, busy"),
        (HOST, {"name": None}, "name of the host row is NoneType None"),
        (INSTANCE, {"operations": "parse"}, "operations of the instance row is str"),
        (INSTANCE, {"operations": ["parse", 3]}, "expected names"),
        (INSTANCE, {"state": "ok"}, "state of the instance row is 'ok', expected one of stopped, starting"),
        (INSTANCE, {"incarnation": 1.0}, "incarnation of the instance row is float 1.0, expected int"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(record: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        type(record).from_wire({**record.to_wire(), **change})


@pytest.mark.parametrize("record", [HOST, INSTANCE])
def test_a_missing_field_and_a_row_that_is_no_map_are_refused(record: Any) -> None:
    row = record.to_wire()
    del row["incarnation"]
    with pytest.raises(ProtocolError, match="has no incarnation"):
        type(record).from_wire(row)
    with pytest.raises(ProtocolError, match="is a map, found list"):
        type(record).from_wire([1, 2])


def test_an_inventory_hash_depends_on_every_field_but_not_on_the_order() -> None:
    other = replace(INSTANCE, service="tts")
    assert inventory_hash([INSTANCE, other]) == inventory_hash([other, INSTANCE])
    changed = [
        replace(INSTANCE, state="ready"), replace(INSTANCE, reason=""), replace(INSTANCE, operations=("parse",)),
        replace(INSTANCE, incarnation=8),
    ]
    assert len({inventory_hash([row]) for row in (INSTANCE, *changed)}) == 5


def test_a_snapshot_comes_back_as_it_was() -> None:
    snapshot = {"hosts": [HOST.to_wire()], "instances": [INSTANCE.to_wire()], "settled": True}
    assert unpack_snapshot(pack_snapshot(snapshot)) == snapshot


def test_a_snapshot_that_is_damaged_cut_off_or_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack_snapshot({"hosts": [HOST.to_wire()] * 100})
    with pytest.raises(ProtocolError, match="does not decompress"):
        unpack_snapshot(b"no zlib")
    with pytest.raises(ProtocolError, match="cut off"):
        unpack_snapshot(packed[:-5])
    with pytest.raises(ProtocolError, match="holds a map"):
        unpack_snapshot(zlib.compress(encode([1])))
    monkeypatch.setattr(records, "MAX_SNAPSHOT", 1000)
    with pytest.raises(ProtocolError, match="more than 1000"):
        unpack_snapshot(packed)


def test_rows_of_one_kind_share_what_is_the_same_in_memory() -> None:
    names = ("ask", "tell")
    snapshot = {"rows": [InstanceRecord(f"service{number}", "pc2", 1, "ready", "", names, 1, "v1").to_wire()
                         for number in range(2)]}
    one, two = (InstanceRecord.from_wire(row) for row in unpack_snapshot(pack_snapshot(snapshot))["rows"])
    assert one.host is two.host and one.operations is two.operations and one.version is two.version
    assert one.state is two.state and one.traits is two.traits
