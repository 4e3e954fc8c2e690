"""Keys are checked and life is told by a thread of their own, whatever the loop does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from mesh import wire
from mesh.clock import Clock
from mesh.errors import PermissionDenied
from mesh.transport import profile
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import KeyPair, fingerprint
from tests.eventually import wait_until
from tests.slack import Slack
from tests.transport.registry_stub import RegistryStub
from tests.transport.resources import nothing_left, terminate


def pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


SERVER, HOST, STRANGER = pair(), pair(), pair()
ALLOW = {HOST.public.encode(): "pc2"}


class Process:
    """What a process of the mesh has: a Context, the heartbeat thread, and sockets opened by the test."""

    def __init__(self) -> None:
        self.context = profile.new_context()
        self.refused: list[tuple[str, str, str]] = []
        self.states: list[bool] = []
        self.heartbeat = Heartbeat(
            self.context, ALLOW, clock=Clock(), on_refused=lambda *what: self.refused.append(what)
        )
        self._kept: list[profile.Socket] = []

    def server(self) -> tuple[profile.Socket, str]:
        """Return a locked ROUTER and where it listens."""
        router = self.keep(profile.router(self.context, own=SERVER))
        router.bind("tcp://127.0.0.1:*")
        return router, router.getsockopt_string(zmq.LAST_ENDPOINT)

    def client(self, endpoint: str, own: KeyPair | None, server_key: str | None = SERVER.public) -> profile.Socket:
        """Return a DEALER on its way to `endpoint`."""
        dealer = self.keep(profile.dealer(self.context, own=own, server_key=server_key))
        dealer.connect(endpoint)
        return dealer

    def keep(self, socket: profile.Socket) -> profile.Socket:
        """Have a socket closed at the end."""
        self._kept.append(socket)
        return socket

    def beat(
        self, endpoint: str, *, own: KeyPair | None = None, server_key: str | None = None,
        progress: Callable[[], float] = time.monotonic, inventory: bytes = b"inventory",
    ) -> None:
        """Send heartbeats of pc2."""
        self.heartbeat.beat(
            endpoint, server_key, own, mesh="home", host="pc2", incarnation=7, progress=progress,
            inventory_hash=lambda: inventory, on_state=self.states.append,
        )

    def end(self) -> None:
        """Stop the thread and close what is open."""
        self.heartbeat.stop()
        for socket in self._kept:
            socket.close()
        terminate(self.context)


@contextmanager
def process() -> Iterator[Process]:
    """Give a process whose thread runs, and see that nothing of it is left."""
    with nothing_left():
        it = Process()
        it.heartbeat.start()
        try:
            yield it
        finally:
            it.end()


def connected(dealer: profile.Socket) -> bool:
    return bool(dealer.poll(0, zmq.POLLOUT))


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_a_known_key_is_let_in_and_named_to_the_server() -> None:
    with process() as it:
        router, endpoint = it.server()
        dealer = it.client(endpoint, HOST)
        wait_until(lambda: connected(dealer))
        dealer.send(b"hello")
        assert router.poll(5000)
        frame = router.recv_multipart(copy=False)[1]
        assert frame.get("User-Id") == "pc2"
        assert (it.heartbeat.accepted, it.heartbeat.refused, it.refused) == (1, 0, [])


def test_a_wrong_key_is_refused_and_reported_with_fingerprint_and_address() -> None:
    with process() as it:
        router, endpoint = it.server()
        dealer = it.client(endpoint, STRANGER)
        wait_until(lambda: it.refused)
        assert it.refused == [("127.0.0.1", fingerprint(STRANGER.public), "the key is not on the allow-list")]
        assert it.heartbeat.refused == 1
        assert not connected(dealer)
        assert not router.poll(100)


def test_a_client_without_a_key_is_refused_by_the_server_socket_itself() -> None:
    with process() as it:
        router = it.keep(profile.router(it.context, own=SERVER))
        watcher = it.keep(profile.monitor(router, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL))
        router.bind("tcp://127.0.0.1:*")
        dealer = it.client(router.getsockopt_string(zmq.LAST_ENDPOINT), None)
        wait_until(lambda: list(profile.happenings(watcher)))
        assert not connected(dealer)
        assert it.heartbeat.accepted == 0


def test_a_client_that_expects_another_server_does_not_talk_to_this_one() -> None:
    with process() as it:
        router, endpoint = it.server()
        dealer = it.client(endpoint, HOST, STRANGER.public)
        assert not dealer.poll(300, zmq.POLLOUT)
        assert not router.poll(0)


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_a_server_socket_that_forgot_curve_lets_nobody_in(mechanism: str) -> None:
    with process() as it:
        router = it.keep(profile.router(it.context, own=None))
        router.setsockopt(zmq.ZAP_DOMAIN, b"mesh")
        dealer = it.keep(profile.dealer(it.context, own=None, server_key=None))
        if mechanism == "PLAIN":
            router.setsockopt(zmq.PLAIN_SERVER, 1)
            dealer.setsockopt(zmq.PLAIN_USERNAME, b"pc2")
            dealer.setsockopt(zmq.PLAIN_PASSWORD, b"guess")
        router.bind("tcp://127.0.0.1:*")
        dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        wait_until(lambda: it.refused)
        assert it.refused == [("127.0.0.1", "", f"{mechanism} instead of CURVE")]
        assert not connected(dealer)


def test_a_swapped_list_counts_from_the_next_handshake() -> None:
    with process() as it:
        _, endpoint = it.server()
        old = it.client(endpoint, HOST)
        wait_until(lambda: connected(old))
        it.heartbeat.swap({STRANGER.public.encode(): "pc3"})
        new = it.client(endpoint, STRANGER)
        wait_until(lambda: connected(new))
        it.client(endpoint, HOST)
        wait_until(lambda: it.refused)
        assert it.refused[0][1] == fingerprint(HOST.public)
        assert connected(old), "an open connection is not the list's affair"


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_hello_comes_first_then_a_heartbeat_each_half_second() -> None:
    with process() as it:
        registry = RegistryStub(it.context, SERVER)
        it.keep(registry.socket)
        it.beat(registry.endpoint, own=HOST, server_key=SERVER.public, progress=lambda: time.monotonic() - 3)
        begun = time.monotonic()
        wait_until(lambda: len(registry.of_kind(wire.HEARTBEAT)) >= 3)
        elapsed = time.monotonic() - begun
        hello = wire.read_greeting(registry.heard[0][1])
        assert (hello.mesh, hello.kind, hello.host, hello.incarnation) == ("home", "heartbeat", "pc2", 7)
        assert registry.names == ["pc2"]
        assert it.states == [True]
        assert elapsed > 0.9
        for number, (_, sequence, age, inventory, _) in enumerate(registry.of_kind(wire.HEARTBEAT), 1):
            assert sequence == number
            assert 2900 < age < 4000
            assert inventory == b"inventory"


def test_the_next_heartbeat_waits_for_the_echo_of_the_last() -> None:
    with process() as it:
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        registry.echoes = False
        it.beat(registry.endpoint)
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))
        assert not registry.socket.poll(1300)
        registry.tell(registry.heard[-1][0], wire.echo(1))
        wait_until(lambda: len(registry.of_kind(wire.HEARTBEAT)) == 2)
        assert it.states == [True], "a slow registry is no lost link"


def test_a_registry_that_comes_back_is_found_by_a_new_connection() -> None:
    with process() as it:
        registry = RegistryStub(it.context, None)
        it.beat(registry.endpoint)
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))
        registry.close()
        wait_until(lambda: it.states == [True, False])
        again = wait_until(lambda: at_once(it, registry.endpoint))
        assert again is not None
        it.keep(again.socket)
        wait_until(lambda: again.of_kind(wire.HEARTBEAT), limit=3)
        assert it.states == [True, False, True]
        assert again.heard[0][0] != registry.heard[0][0], "a routing id names one connection"
        assert again.heard[0][1][0] == wire.HELLO


def at_once(it: Process, endpoint: str) -> RegistryStub | None:
    """Return a registry at `endpoint`, None while libzmq has not let go of the port."""
    try:
        return RegistryStub(it.context, None, endpoint)
    except zmq.ZMQError:
        return None


def test_a_frozen_registry_is_noticed_and_found_again_when_it_goes_on() -> None:
    with process() as it:
        child = subprocess.Popen([sys.executable, "-m", "tests.transport.frozen_registry", "tcp://127.0.0.1:*"],
                                 stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            it.beat(child.stdout.readline().strip())
            wait_until(lambda: it.states == [True])
            os.kill(child.pid, signal.SIGSTOP)
            wait_until(lambda: it.states == [True, False], limit=4)
            os.kill(child.pid, signal.SIGCONT)
            wait_until(lambda: it.states == [True, False, True])
        finally:
            child.kill()
            child.communicate()


def test_a_refused_hello_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mesh.heartbeat")
    with process() as it:
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        registry.welcomes = False
        it.beat(registry.endpoint)

        def refuse() -> bool:
            for routing_id, envelope in registry.heard[len(told):]:
                told.append(routing_id)
                assert envelope[0] == wire.HELLO
                registry.tell(routing_id, wire.refused(PermissionDenied("pc2 is connected already")))
            registry.answer()
            return len(set(told)) >= 3

        told: list[bytes] = []
        wait_until(refuse)
        assert [record.getMessage() for record in caplog.records].count(
            f"no heartbeats to {registry.endpoint}: refused: pc2 is connected already") == 1
        assert it.states == []


def test_another_meshs_registry_is_not_taken_for_ours(caplog: pytest.LogCaptureFixture) -> None:
    with process() as it:
        registry = RegistryStub(it.context, None, mesh="office")
        it.keep(registry.socket)
        it.beat(registry.endpoint)
        wait_until(lambda: len(registry.of_kind(wire.HELLO)) >= 2)
        assert it.states == []
        assert "it belongs to mesh 'office', this host to 'home'" in caplog.text


def test_a_registry_with_another_key_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    with process() as it:
        registry = RegistryStub(it.context, SERVER)
        it.keep(registry.socket)
        it.beat(registry.endpoint, own=HOST, server_key=STRANGER.public)
        wait_until(lambda: "did not prove the expected key" in caplog.text)
        registry.answer()
        assert (it.states, registry.heard) == ([], [])


def test_a_host_whose_key_the_registry_does_not_know_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    with process() as it:
        registry = RegistryStub(it.context, SERVER)
        it.keep(registry.socket)
        it.beat(registry.endpoint, own=STRANGER, server_key=SERVER.public)
        wait_until(lambda: "mesh keys show" in caplog.text)
        assert it.states == []


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x93\x00\x00\x91\xcc\xff", b"x" * 1000])
def test_bytes_that_are_no_frame_end_that_connection_only(garbage: bytes) -> None:
    with process() as it:
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        it.beat(registry.endpoint)
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))
        registry.socket.send_multipart([registry.heard[0][0], garbage])
        wait_until(lambda: len(registry.of_kind(wire.HELLO)) == 2 and it.states == [True, False, True])


def test_a_callback_that_raises_stops_neither_heartbeats_nor_key_checks() -> None:
    failing = [True]

    def progress() -> float:
        if failing:
            raise RuntimeError("no progress known")
        return time.monotonic()

    with process() as it:
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        it.beat(registry.endpoint, progress=progress)
        wait_until(lambda: registry.of_kind(wire.HELLO) and it.states[:2] == [True, False])
        _, endpoint = it.server()
        dealer = it.client(endpoint, HOST)
        wait_until(lambda: connected(dealer))
        failing.clear()
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))


def test_a_new_target_takes_the_place_of_the_old() -> None:
    with process() as it:
        first, second = RegistryStub(it.context, None), RegistryStub(it.context, None)
        for one in (first, second):
            it.keep(one.socket)
        it.beat(first.endpoint)
        wait_until(lambda: first.of_kind(wire.HEARTBEAT))
        it.beat(second.endpoint)
        wait_until(lambda: second.of_kind(wire.HEARTBEAT))
        first.answer()
        assert not first.socket.poll(700)


def test_rest_closes_the_connection_and_goes_on_checking_keys() -> None:
    with process() as it:
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        it.beat(registry.endpoint)
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))
        it.heartbeat.rest()
        wait_until(lambda: cannot_reach(registry))
        _, endpoint = it.server()
        dealer = it.client(endpoint, HOST)
        wait_until(lambda: connected(dealer))


def cannot_reach(registry: RegistryStub) -> bool:
    try:
        registry.tell(registry.heard[0][0], wire.reset())
    except zmq.ZMQError:
        return True
    return False


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_a_target_given_before_the_start_is_served_after_it() -> None:
    with nothing_left():
        it = Process()
        registry = RegistryStub(it.context, None)
        it.keep(registry.socket)
        it.beat(registry.endpoint)
        it.heartbeat.start()
        wait_until(lambda: registry.of_kind(wire.HEARTBEAT))
        it.end()


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://192.0.2.1:7400"])
def test_a_stop_waits_for_no_timer_and_no_connection(endpoint: str) -> None:
    with process() as it:
        it.beat(endpoint)
        assert not it.keep(it.context.socket(zmq.ROUTER)).poll(300)  # into the middle of an attempt
        with Slack() as slack:
            begun = time.monotonic()
            it.heartbeat.stop()
            took = time.monotonic() - begun
        assert took < 0.5 + slack.lost


def test_a_second_stop_does_nothing() -> None:
    with process() as it:
        it.heartbeat.stop()
        it.heartbeat.stop()


def test_a_terminated_context_ends_the_thread() -> None:
    with nothing_left():
        it = Process()
        it.heartbeat.start()
        it.beat("tcp://127.0.0.1:1")
        ending = threading.Thread(target=it.context.term)
        ending.start()
        wait_until(lambda: "mesh-heartbeat" not in [thread.name for thread in threading.enumerate()])
        it.heartbeat.stop()
        ending.join(5)
        assert not ending.is_alive()
