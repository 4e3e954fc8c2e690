"""An event on its way to a member of a group is a call whose body is pinned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ProtocolError
from mesh.message import Event, decode, encode
from mesh.supervisor.cell.groupcall import body_of, event_of, group_of
from mesh.tracing import Trace
from tests.policy.calls import ask

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "group.json"
EVENT = Event("orders.new", encode({"id": 7}), "shop@pc2", 1717400000.25, Trace.new())


def test_a_body_is_made_of_exactly_these_bytes() -> None:
    pinned = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert body_of(EVENT).hex() == pinned["bytes"]
    *fields, payload = decode(bytes.fromhex(pinned["bytes"]))
    assert [*fields, decode(payload)] == pinned["fields"]


def test_what_was_sent_arrives() -> None:
    assert EVENT.trace is not None
    request = ask(target="packer.#workers", trace=EVENT.trace)._replace(body=body_of(EVENT))
    assert (group_of(request), event_of(request)) == ("workers", EVENT)
    assert group_of(ask(target="packer.workers")) is None


@pytest.mark.parametrize("body", [{}, [], ["orders.new", "shop@pc2", 1, b""], ["orders.new", "shop@pc2", 1.0, "x"]])
def test_any_other_body_is_refused(body: Any) -> None:
    with pytest.raises(ProtocolError, match="an array of topic, origin, time and payload"):
        event_of(ask(target="packer.#workers")._replace(body=encode(body)))
