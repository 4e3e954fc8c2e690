"""A reader outside the mesh: the error bus with nothing but pyzmq, msgpack and docs/protocol.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.eventually import wait_until
from tests.project import Project


def _key(home: Path, name: str) -> dict[str, bytes]:
    """Return the two halves of a key file of `.mesh/keys`."""
    lines = (line.split(maxsplit=1) for line in (home / "keys" / f"{name}.key").read_text().splitlines())
    return {half: value.encode() for half, value in lines}



def test_a_sub_socket_with_the_operators_key_reads_the_error_bus(pair: Project) -> None:
    pair.up()
    mine, host = _key(pair.home, "operator"), _key(pair.home, "pc2")
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.linger = 0
        reader.curve_publickey, reader.curve_secretkey = mine["public"], mine["secret"]
        reader.curve_serverkey = host["public"]
        reader.subscribe(b"errors.error.pc2.")
        reader.connect(f"tcp://127.0.0.1:{pair.ports['pc2'][1]}")
        records = wait_until(lambda: _records(pair, reader), 15)
    first = records[0]
    assert first["topic"] == "errors.error.pc2.far" and first["v"] == 1
    assert first["data"]["message"] == "made to fail" and first["data"]["host"] == "pc2"
    assert [record["seq"] for record in records] == list(range(first["seq"], first["seq"] + len(records)))
    ids = {error["sample_id"] for error in pair.json("errors")}
    assert records[-1]["data"]["id"] in ids


def _records(pair: Project, reader: zmq.Socket[bytes]) -> list[dict[str, Any]] | None:
    """Make pc2 fail once more and return what the reader has of it; the subscription takes a moment to arrive."""
    pair.call("far.fail")
    found = []
    while reader.poll(500):
        topic, body = reader.recv_multipart()
        record = msgpack.unpackb(body)
        assert topic == record["topic"].encode() + b"\0"
        if not record.get("repeat"):
            found.append(record)
    return found or None
