"""Sockets are set up in one way, survive the attacks on ROUTER ids, and can be watched without standing still."""

from __future__ import annotations

import ctypes
import itertools
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from mesh.transport import profile
from tests.eventually import wait_until
from tests.transport.resources import nothing_left

EVERY = {
    zmq.LINGER: 0, zmq.RCVHWM: 0, zmq.HEARTBEAT_IVL: 500, zmq.HEARTBEAT_TIMEOUT: 2000, zmq.HEARTBEAT_TTL: 2000,
    zmq.TCP_KEEPALIVE: 1, zmq.TCP_KEEPALIVE_IDLE: 30, zmq.TCP_KEEPALIVE_INTVL: 5, zmq.TCP_KEEPALIVE_CNT: 3,
    zmq.HANDSHAKE_IVL: 3000, zmq.CONNECT_TIMEOUT: 2000,
}
OF_KIND = {
    "router": {zmq.SNDHWM: 64, zmq.MAXMSGSIZE: 1024 * 1024, zmq.TYPE: zmq.ROUTER},
    "dealer": {zmq.SNDHWM: 64, zmq.MAXMSGSIZE: 1024 * 1024, zmq.IMMEDIATE: 1, zmq.RECONNECT_IVL: -1,
               zmq.TYPE: zmq.DEALER},
    "xpub": {zmq.SNDHWM: 1000, zmq.MAXMSGSIZE: 1024, zmq.TYPE: zmq.XPUB},
}


class Bench:
    """A Context and every socket opened in it, kept until the end."""

    def __init__(self) -> None:
        self.context = profile.new_context()
        self._kept: list[profile.Socket] = []

    def plain(self, kind: int) -> profile.Socket:
        """Return a socket as libzmq makes it."""
        self._kept.append(self.context.socket(kind))
        return self._kept[-1]

    def open(self, kind: str) -> profile.Socket:
        """Return a socket as the mesh makes it."""
        if kind == "dealer":
            self._kept.append(profile.dealer(self.context, own=None, server_key=None))
        else:
            self._kept.append((profile.router if kind == "router" else profile.xpub)(self.context, own=None))
        return self._kept[-1]


@contextmanager
def bench() -> Iterator[Bench]:
    """Give a bench and end it with everything on it."""
    it = Bench()
    try:
        yield it
    finally:
        it.context.destroy(linger=0)


@pytest.mark.parametrize("kind", ["router", "dealer", "xpub"])
def test_a_socket_has_the_options_of_the_mesh(kind: str) -> None:
    with bench() as here:
        opened_socket = here.open(kind)
        for option, value in {**EVERY, **OF_KIND[kind]}.items():
            assert opened_socket.get(option) == value, zmq.SocketOption(option).name


def test_the_context_allows_many_sockets_and_none_lingers() -> None:
    with bench() as here:
        assert here.context.get(zmq.MAX_SOCKETS) == 4096
        assert here.plain(zmq.SUB).get(zmq.LINGER) == 0


def test_a_routing_id_is_never_used_twice() -> None:
    with bench() as here:
        ids = [here.open("dealer").get(zmq.ROUTING_ID) for _ in range(50)]
    ids += [profile.new_routing_id() for _ in range(5000)]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(one, bytes) and len(one) == 16 and one[0] for one in ids)


def test_a_router_tells_when_a_peer_is_gone() -> None:
    with bench() as here:
        router = here.open("router")
        router.bind("tcp://127.0.0.1:*")
        with pytest.raises(zmq.ZMQError, match="Host unreachable"):
            router.send_multipart([b"nobody", b"hello"])


def test_a_claimed_routing_id_takes_no_replies_of_its_owner() -> None:
    with bench() as here:
        router = here.open("router")
        router.bind("tcp://127.0.0.1:*")
        endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
        owner, thief = here.open("dealer"), here.open("dealer")
        owner.connect(endpoint)
        wait_until(lambda: owner.poll(0, zmq.POLLOUT))
        owner.send(b"mine")
        routing_id, _ = router.recv_multipart()
        thief.setsockopt(zmq.ROUTING_ID, routing_id)
        thief.connect(endpoint)
        wait_until(lambda: thief.poll(0, zmq.POLLOUT))
        router.send_multipart([routing_id, b"reply"])
        assert owner.poll(5000)
        assert owner.recv() == b"reply"
        assert not thief.poll(100)


# --- predictable ids --------------------------------------------------------------------------------------------------


def predicted_ids(count: int) -> list[bytes]:
    """Return the ids a ROUTER hands out first when nobody has seeded the C library's random numbers."""
    library = ctypes.CDLL(None)
    library.srand(1)
    draws = [library.rand() for _ in range(count + 1)]
    return [b"\0" + struct.pack(">I", (high << 31 | low) & 0xFFFFFFFF)
            for low, high in itertools.pairwise(draws)]


def attack(endpoint: str, here: Bench) -> bool:
    """Claim the ids a naive ROUTER would hand out next, then have it hand one out; tells if it still answers."""
    claimants = []
    for routing_id in predicted_ids(64):
        claimant = here.plain(zmq.DEALER)
        claimant.setsockopt(zmq.ROUTING_ID, routing_id)
        claimant.connect(endpoint)
        claimant.send(b"mine")
        claimants.append(claimant)
    wait_until(lambda: sum(bool(claimant.poll(0)) for claimant in claimants) >= 60)
    nameless = here.plain(zmq.DEALER)
    nameless.connect(endpoint)
    nameless.send(b"still there?")
    return bool(nameless.poll(2000))


@contextmanager
def echo_server(how: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    server = subprocess.Popen([sys.executable, "-m", "tests.transport.naive_router", how],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server, server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


def test_a_claimed_next_id_kills_a_router_that_nobody_seeded() -> None:
    with bench() as here, echo_server("unseeded") as (server, endpoint):
        assert not attack(endpoint, here)
        assert server.wait(10) == -signal.SIGABRT


def test_the_same_attack_does_nothing_to_a_router_of_the_mesh() -> None:
    with bench() as here, echo_server("seeded") as (server, endpoint):
        assert attack(endpoint, here)
        assert server.poll() is None


# --- monitors ---------------------------------------------------------------------------------------------------------


def hear(watcher: profile.Monitor, told: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Add what a monitor has to tell to `told`, and return that."""
    told.extend(profile.happenings(watcher))
    return told


def test_a_monitor_nobody_reads_does_not_stop_the_links() -> None:
    with bench() as here, bench() as elsewhere:
        router = here.open("router")
        watcher = profile.monitor(router, zmq.EVENT_ALL)
        router.bind("tcp://127.0.0.1:*")
        endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
        dealer = elsewhere.open("dealer")
        dealer.connect(endpoint)
        for _ in range(1200):  # three events each; libzmq's own bound is about 2,300
            socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))).close()
        wait_until(lambda: dealer.poll(0, zmq.POLLOUT))
        dealer.send(b"hello")
        assert router.poll(5000)
        told: list[tuple[int, int]] = []
        wait_until(lambda: len(hear(watcher, told)) >= 2500)


@pytest.mark.parametrize("first", ["socket", "monitor"])
def test_a_monitor_may_close_in_any_order_under_traffic(first: str) -> None:
    with nothing_left(), bench() as here, bench() as elsewhere:
        for _ in range(40):
            router = here.open("router")
            watcher = profile.monitor(router, zmq.EVENT_ALL)
            router.bind("tcp://127.0.0.1:*")
            dealers = [elsewhere.open("dealer") for _ in range(6)]
            for dealer in dealers:
                dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
            for one in (router, watcher) if first == "socket" else (watcher, router):
                one.close()
            for dealer in dealers:
                dealer.close()


def test_a_monitor_tells_who_came_and_who_left() -> None:
    with bench() as here:
        router = here.open("router")
        watcher = profile.monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        router.bind("tcp://127.0.0.1:*")
        dealer = here.open("dealer")
        dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        wait_until(lambda: dealer.poll(0, zmq.POLLOUT))
        dealer.close()
        told: list[tuple[int, int]] = []
        wait_until(lambda: len(hear(watcher, told)) >= 2)
        (came, descriptor), (left, same) = told
        assert (came, left) == (zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED)
        assert descriptor == same > 0
