"""Readers outside the mesh hear what they ask for, see what they missed, and cannot do harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import msgpack
import pytest
import zmq

from mesh.clock import Clock, Timer
from mesh.errors import StartError
from mesh.message import Event, encode
from mesh.transport import profile
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import KeyPair, fingerprint
from mesh.transport.outside import Outside
from tests.eventually import eventually
from tests.transport.resources import nothing_left, terminate


def pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


SERVER, OPERATOR, STRANGER = pair(), pair(), pair()
Scenario = Callable[[], Coroutine[Any, Any, None]]


def on_a_loop(scenario: Scenario) -> Callable[[], None]:
    """Run an asynchronous test on a loop of its own, and see that nothing of it is left."""

    @wraps(scenario)
    def run() -> None:
        with nothing_left():
            asyncio.run(scenario())

    return run


class HandClock(Clock):
    """A clock whose timers ring when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waiting: list[Callable[[], object]] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        self.waiting.append(callback)
        return asyncio.get_running_loop().call_later(3600, lambda: None)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class Reader:
    """A SUB socket with nothing of the mesh but the key, and what it has read."""

    def __init__(self, context: profile.Context, endpoint: str, own: KeyPair | None, kind: int = zmq.SUB,
                 server_key: str = SERVER.public) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(kind)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        if own is not None:
            self.socket.curve_publickey = own.public.encode()
            self.socket.curve_secretkey = own.secret.encode()
            self.socket.curve_serverkey = server_key.encode()
        self.endpoint = endpoint
        self.events: list[dict[str, Any]] = []
        self.topics: list[bytes] = []

    def connect(self) -> None:
        self.socket.connect(self.endpoint)

    def read(self) -> list[dict[str, Any]]:
        """Take everything that has come; returns all events so far."""
        while True:
            try:
                topic, content = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return self.events
            self.topics.append(topic)
            self.events.append(msgpack.unpackb(content))


class Door:
    """An open `Outside`, with the key check of its process, and readers of another."""

    def __init__(self) -> None:
        self.context = profile.new_context()
        self.elsewhere: profile.Context = zmq.Context()
        self.elsewhere.linger = 0
        self.clock = HandClock()
        self.refused: list[tuple[str, str, str]] = []
        self.loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(
            self.context, {OPERATOR.public.encode(): "operator"}, clock=Clock(),
            on_refused=self.refuse_threadsafe,
        )
        self.heartbeat.start()
        self.outside = self.another(SERVER)
        self.endpoint = self.outside.bind("tcp://127.0.0.1:*")
        self.readers: list[Reader] = []

    def refuse_threadsafe(self, address: str, key: str, reason: str) -> None:
        self.loop.call_soon_threadsafe(self.refuse, address, key, reason)

    def refuse(self, address: str, key: str, reason: str) -> None:
        self.refused.append((address, key, reason))

    def another(self, own: KeyPair | None) -> Outside:
        return Outside(self.context, own=own, host="pc2", boot=42, clock=self.clock, on_refused=self.refuse)

    def knock(self, own: KeyPair | None = OPERATOR, kind: int = zmq.SUB, server_key: str = SERVER.public) -> Reader:
        """Return a reader that is on its way in."""
        reader = Reader(self.elsewhere, self.endpoint, own, kind, server_key)
        self.readers.append(reader)
        if kind == zmq.XSUB:
            reader.connect()
        return reader

    async def reader(self, *prefixes: bytes) -> Reader:
        """Return a reader whose subscriptions have arrived, one of its own among them that shows it."""
        reader = self.knock()
        own = b"reader.%d." % len(self.readers)
        for prefix in (*prefixes, own):
            reader.socket.subscribe(prefix)
        reader.connect()
        await eventually(lambda: self.outside._subscriptions.wanted(own), 20)
        return reader

    def publish(self, topic: str, value: object = None) -> None:
        self.outside.publish(Event(topic, encode(value), "nlu@pc2", 1700000000.5))

    def close(self) -> None:
        self.outside.close()
        self.heartbeat.stop()
        self.elsewhere.destroy(linger=0)
        terminate(self.context)


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    it = Door()
    try:
        yield it
    finally:
        it.close()


# --- events -----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_reader_with_the_operators_key_hears_events() -> None:
    async with door() as it:
        reader = await it.reader(b"errors.")
        it.publish("errors.error.pc2.nlu", {"message": "no model", "count": 3})
        it.publish("memory.added", {})
        it.publish("errors.error.pc2.nlu", [1, b"\x00"])
        await eventually(lambda: len(reader.read()) == 2)
        assert reader.topics == [b"errors.error.pc2.nlu\0"] * 2
        assert reader.events == [
            {"v": 1, "seq": 1, "boot": 42, "host": "pc2", "topic": "errors.error.pc2.nlu", "time": 1700000000.5,
             "origin": "nlu@pc2", "data": {"message": "no model", "count": 3}},
            {"v": 1, "seq": 2, "boot": 42, "host": "pc2", "topic": "errors.error.pc2.nlu", "time": 1700000000.5,
             "origin": "nlu@pc2", "data": [1, b"\x00"]},
        ]


@on_a_loop
async def test_a_prefix_that_ends_with_the_zero_byte_is_one_topic() -> None:
    async with door() as it:
        reader = await it.reader(b"errors.error.pc\0")
        it.publish("errors.error.pc2")
        it.publish("errors.error.pc")
        await eventually(reader.read)
        assert [event["topic"] for event in reader.events] == ["errors.error.pc"]


@on_a_loop
async def test_without_security_any_reader_hears_events() -> None:
    async with door() as it:
        plain = it.another(None)
        it.endpoint = plain.bind("tcp://127.0.0.1:*")
        reader = it.knock(None)
        reader.socket.subscribe(b"")
        reader.connect()
        await eventually(lambda: plain.readers == 1)
        plain.publish(Event("a.topic", encode(1), "nlu@pc2", 0.0))
        await eventually(reader.read)
        plain.close()


@on_a_loop
async def test_nothing_is_encoded_that_nobody_wants_but_it_is_counted() -> None:
    async with door() as it:
        it.publish("a.topic")
        reader = await it.reader(b"a.")
        it.publish("b.topic")
        assert it.outside.sent == 0
        it.publish("a.topic")
        await eventually(reader.read)
        assert reader.events[0]["seq"] == 2
        reader.socket.unsubscribe(b"a.")
        await eventually(lambda: not it.outside._subscriptions.wanted(b"a.topic\0"))
        it.publish("a.topic")
        assert it.outside.sent == 1


@on_a_loop
async def test_a_reader_that_leaves_is_forgotten_at_once() -> None:
    async with door() as it:
        leaving, staying = await it.reader(b"a"), await it.reader(b"b")
        leaving.socket.close()
        await eventually(lambda: it.outside.readers == 1)
        it.publish("a")
        it.publish("b")
        await eventually(staying.read)
        assert it.outside.sent == 1


@on_a_loop
async def test_a_body_over_the_limit_is_named_but_not_carried() -> None:
    async with door() as it:
        reader = await it.reader(b"")
        it.publish("picture.taken", bytes(300_000))
        await eventually(reader.read)
        assert "data" not in reader.events[0]
        assert reader.events[0]["omitted"] == 300_005


# --- gaps -------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_reader_that_falls_behind_sees_how_much_it_missed() -> None:
    async with door() as it:
        slow = it.knock()
        slow.socket.setsockopt(zmq.RCVHWM, 10)
        slow.socket.subscribe(b"")
        slow.connect()
        await eventually(lambda: it.outside.readers == 1)
        for _ in range(8000):
            it.publish("busy.topic", "x" * 4000)
        await eventually(lambda: len(slow.read()) > 100)
        seen = -1
        while len(slow.read()) != seen:  # until nothing more comes
            seen = len(slow.events)
            await asyncio.to_thread(slow.socket.poll, 200)
        numbers = [event["seq"] for event in slow.events]
        assert numbers == sorted(set(numbers))
        assert len(numbers) < 8000
        it.clock.advance(1)
        it.clock.advance(1)
        await eventually(lambda: slow.read()[-1].get("repeat"))
        assert slow.events[-1] == {
            "v": 1, "seq": 8000, "boot": 42, "host": "pc2", "topic": "busy.topic", "repeat": True
        }


@on_a_loop
async def test_the_last_number_is_repeated_for_a_minute_after_a_topic_fell_silent() -> None:
    async with door() as it:
        reader = await it.reader(b"a.")
        it.publish("a.topic")
        it.publish("b.topic")
        for _ in range(120):
            it.clock.advance(1)
        it.publish("a.topic")
        await eventually(lambda: [event["seq"] for event in reader.read()][-1:] == [2])
        repeats = reader.events[1:-1]
        assert 58 <= len(repeats) <= 60
        assert all(event["repeat"] and event["seq"] == 1 and event["topic"] == "a.topic" for event in repeats)


# --- who is turned away -----------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_wrong_key_is_refused_and_named_with_address_and_fingerprint() -> None:
    async with door() as it:
        stranger = it.knock(STRANGER)
        stranger.socket.subscribe(b"")
        stranger.connect()
        await eventually(lambda: it.refused)
        assert it.refused == [("127.0.0.1", fingerprint(STRANGER.public), "the key is not on the allow-list")]
        assert it.outside.readers == 0


@on_a_loop
async def test_a_reader_without_a_key_is_refused_and_told_of() -> None:
    async with door() as it:
        stranger = it.knock(None)
        stranger.socket.subscribe(b"")
        stranger.connect()
        await eventually(lambda: it.refused)
        _, key, reason = it.refused[0]
        assert key == ""
        assert reason in ("it does not speak CURVE", "it went away before it showed a key")
        assert it.outside.readers == 0


@on_a_loop
async def test_a_reader_that_expects_another_server_is_told_of() -> None:
    async with door() as it:
        lost = it.knock(server_key=STRANGER.public)
        lost.socket.subscribe(b"")
        lost.connect()
        await eventually(lambda: it.refused)
        assert it.refused[0][2] == "it expects another server key, or does not hold its own"


@on_a_loop
async def test_programs_that_are_no_readers_leave_no_trace() -> None:
    async with door() as it:
        address, port = "127.0.0.1", int(it.endpoint.rpartition(":")[2])
        for turn in range(40):
            _, writer = await asyncio.open_connection(address, port)
            if turn % 2:
                writer.write(b"GET / HTTP/1.1\r\nHost: pc2\r\n\r\n" + b"x" * 200)
            else:
                await eventually(lambda: it.outside.connections > 0)
            writer.close()
        await eventually(lambda: it.outside.connections == 0 and len(it.refused) >= 20)
        assert {reason for _, _, reason in it.refused} == {"it went away before it showed a key"}
        await eventually(lambda: not it.outside._subscriptions._gone)
        reader = await it.reader(b"a")
        it.publish("a")
        await eventually(reader.read)


@on_a_loop
async def test_a_reader_that_wants_too_much_is_cut_off_and_the_others_go_on() -> None:
    async with door() as it:
        modest = await it.reader(b"a")
        greedy = it.knock()
        watcher = greedy.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        for number in range(65):
            greedy.socket.subscribe(b"%d" % number)
        greedy.connect()
        await eventually(lambda: it.refused)
        address, _, reason = it.refused[0]
        assert address.startswith("127.0.0.1:")
        assert reason == "more than 64 subscriptions; subscribe to a shorter prefix and choose in the reader"
        await eventually(lambda: watcher.poll(0))
        await eventually(lambda: it.outside.readers == 1)
        it.publish("a")
        await eventually(modest.read)
        newcomer = await it.reader(b"a")  # may well get the descriptor of the one cut off
        it.publish("a")
        await eventually(newcomer.read)
        assert len(it.refused) == 1


@on_a_loop
async def test_readers_that_come_and_go_on_one_descriptor_are_told_apart() -> None:
    async with door() as it:
        for turn in range(5):
            greedy = it.knock()
            for number in range(200):
                greedy.socket.subscribe(b"%d" % number)
            greedy.connect()
            await eventually(lambda turn=turn: len(it.refused) == turn + 1)  # type: ignore[misc]
            modest = await it.reader(*(b"m%d" % number for number in range(63)))
            it.publish("m62")
            await eventually(modest.read)
            modest.socket.close()
            await eventually(lambda: it.outside.readers == 0)


@on_a_loop
async def test_a_subscription_over_the_length_limit_cuts_the_reader_off() -> None:
    async with door() as it:
        long, longer = it.knock(), it.knock()
        long.socket.subscribe(b"x" * 257)
        long.connect()
        await eventually(lambda: it.refused)
        assert it.refused[0][2] == "a subscription of 257 bytes, the limit is 256"
        watcher = longer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        longer.socket.subscribe(b"x" * 2000)
        longer.connect()
        await eventually(lambda: watcher.poll(0))
        assert it.outside.readers == 0


@on_a_loop
async def test_subscribing_twice_and_talking_nonsense_leaves_no_trace() -> None:
    async with door() as it:
        odd = it.knock(kind=zmq.XSUB)
        for frames in ([b"\x01a"], [b"\x01a"], [b"\x00never"], [b"hello"], [b"", b"\x02"], [b"\x01b"]):
            odd.socket.send_multipart(frames)
        await eventually(lambda: it.outside.readers == 1)
        it.publish("a")
        await eventually(odd.read)
        odd.socket.close()
        await eventually(lambda: it.outside.readers == 0)
        it.publish("a")
        assert it.outside.sent == 1
        assert it.refused == []


@on_a_loop
async def test_a_port_that_is_taken_is_an_error_in_words() -> None:
    async with door() as it:
        with pytest.raises(StartError, match=rf"cannot publish events at {it.endpoint}: Address already in use; "):
            it.another(SERVER).bind(it.endpoint)
