"""Big envelopes put together from their parts, and what is no such part."""

from __future__ import annotations

import os

import pytest

from mesh import wire
from mesh.errors import ProtocolError
from mesh.message import Reply
from mesh.transport import arrivals as module
from mesh.transport.arrivals import Arrivals
from tests.transport.ends import ask

BODY = os.urandom(200_000)


@pytest.mark.parametrize("envelope", [
    wire.reply(7, Reply(BODY, None, "pc2")), wire.item(7, 3, BODY), wire.call(7, ask()._replace(body=BODY)),
])
@pytest.mark.parametrize("size", [150, 40_000, 65_536, 300_000])
def test_an_envelope_is_whole_with_its_last_part(envelope: wire.Packed, size: int) -> None:
    data, arrivals = bytes(envelope), Arrivals()
    for offset in range(0, len(data), size):
        part = data[offset:offset + size]
        received, found = arrivals.take(3, len(data), offset, part)
        assert received == offset + len(part)
        assert (found is None) == (received < len(data))
        assert arrivals.size == (received if found is None else 0)
    assert found is not None and found[-1] == BODY and type(found[-1]) is bytes
    assert len(arrivals) == 0


@pytest.mark.parametrize("data", [
    b"\xc1" * 9, wire.hello(wire.Hello("home", "host", "pc2", 1)), b"\xc0", b"\x90", b"\xdd\xff\xff\xff\xff" * 9,
    bytes(wire.reply(7, Reply(BODY)))[:-1], bytes(wire.reply(7, Reply(BODY))) + b"x", wire.cancel(1),
    b"\x94" + bytes(40),
])
def test_what_begins_no_envelope_is_refused_with_its_first_part(data: bytes) -> None:
    arrivals = Arrivals()
    with pytest.raises(ProtocolError):
        arrivals.take(3, len(data), 0, data[:50_000])
    assert (len(arrivals), arrivals.size) == (0, 0)


def test_a_first_part_without_the_whole_head_is_refused() -> None:
    data = bytes(wire.reply(7, Reply(BODY)))
    for size in range(1, data.index(BODY)):
        with pytest.raises(ProtocolError):
            Arrivals().take(3, len(data), 0, data[:size])


def test_what_is_announced_takes_no_memory() -> None:
    arrivals = Arrivals()
    envelope = wire.reply(7, Reply(bytes(wire.MAX_BODY)))
    assert isinstance(envelope, wire.BigEnvelope)
    for name in range(1000):
        arrivals.take(name, len(envelope), 0, b"".join(envelope.between(0, 100)))
    assert arrivals.size == 100_000


def test_unfinished_envelopes_are_bounded_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNFINISHED", 200_000)
    arrivals, data = Arrivals(), bytes(wire.reply(7, Reply(BODY)))
    for name in range(3):
        arrivals.take(name, len(data), 0, data[:60_000])
    with pytest.raises(ProtocolError, match="512 MiB"):
        arrivals.take(3, len(data), 0, data[:60_000])
    assert (arrivals.size, len(arrivals)) == (180_000, 3)
