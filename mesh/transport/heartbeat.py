"""The heartbeat thread: what must go on while the loop is blocked, the checking of keys and the sign of life.

The thread owns its sockets in the process's only Context. Other threads reach it through a queue and an inproc pair
that wakes it; the allow-list is swapped as a whole. Its callbacks (`on_refused`, `on_state`, `progress`,
`inventory_hash`) are called in the thread: whoever gives them makes them safe and quick.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import zmq

from mesh.clock import Clock
from mesh.metrics import BOTH, Sample, counter
from mesh.transport.beat import Beat, Target
from mesh.transport.keys import KeyPair
from mesh.transport.profile import Context, Socket
from mesh.transport.zap import OnRefused, Zap
from mesh.wire import Hello

ACCEPTED = counter("mesh_keys_accepted_total", "Handshakes with a key of the allow-list.", programs=BOTH)
REFUSED = counter("mesh_keys_refused_total", "Handshakes refused for their key.", programs=BOTH)

JOIN_SECONDS = 5.0

_numbers = itertools.count(1)
log = logging.getLogger("mesh.heartbeat")


class Heartbeat:
    """One thread per process: ZAP from `start` to `stop`, heartbeats from `beat` to `rest`."""

    def __init__(
        self, context: Context, allow: Mapping[bytes, str], *, clock: Clock, on_refused: OnRefused
    ) -> None:
        self._context = context
        self._allow = allow
        self._clock = clock
        self._on_refused = on_refused
        self._orders: deque[Target | None] = deque()
        self._stopping = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._zap: Zap | None = None
        self._bell: Socket | None = None
        self._beat: Beat | None = None

    @property
    def refused(self) -> int:
        """How many handshakes were refused so far."""
        return 0 if self._zap is None else self._zap.refused

    @property
    def accepted(self) -> int:
        """How many handshakes were let in so far."""
        return 0 if self._zap is None else self._zap.accepted

    def samples(self) -> Iterator[Sample]:
        """Yield how many were let in and refused; may be called in any thread."""
        yield ACCEPTED.sample(self.accepted)
        yield REFUSED.sample(self.refused)

    def start(self) -> None:
        """Begin to check keys; server sockets may bind once this returns. Raises `StartError`."""
        self._zap = Zap(self._context, self._allow, self._on_refused)
        endpoint = f"inproc://mesh.heartbeat.{next(_numbers)}"
        ear: Socket = self._context.socket(zmq.PAIR)
        ear.bind(endpoint)
        bell: Socket = self._context.socket(zmq.PAIR)
        bell.connect(endpoint)
        self._bell = bell
        # The sockets change hands here, once; starting a thread is the memory barrier libzmq asks for.
        self._thread = threading.Thread(
            target=self._run, args=(self._zap, ear), name="mesh-heartbeat", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End heartbeats and key checks; the thread and its sockets are gone when this returns."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping = True
        self._ring()
        thread.join(JOIN_SECONDS)
        if thread.is_alive():
            log.error("the heartbeat thread does not end; one of its callbacks waits for something")
        with self._lock:
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def swap(self, allow: Mapping[bytes, str]) -> None:
        """Let in the owners of these keys from now on (Z85 public key to name); open connections stay open."""
        self._allow = allow
        if self._zap is not None:
            self._zap.allow = allow

    def beat(
        self, endpoint: str, server_key: str | None, own: KeyPair | None, *, mesh: str, host: str, incarnation: int,
        progress: Callable[[], float], inventory_hash: Callable[[], bytes], on_state: Callable[[bool], None],
    ) -> None:
        """Send heartbeats of `host` to the registry at `endpoint`, in place of any earlier target.

        `progress` gives the monotonic second in which the loop last turned. `on_state` is told True when the registry
        has welcomed the connection and False when that is lost; it is not told of `rest` and `stop`.
        """
        who = Hello(mesh, "heartbeat", host, incarnation)
        self._order(Target(endpoint, server_key, own, who, progress, inventory_hash, on_state))

    def rest(self) -> None:
        """Stop sending heartbeats and close their connection; keys are checked on."""
        self._order(None)

    def _order(self, target: Target | None) -> None:
        self._orders.append(target)
        self._ring()

    def _ring(self) -> None:
        """Wake the thread; the lock makes callers of several threads one owner after another."""
        with self._lock:
            if self._bell is not None:
                # a thousand calls that wait will wake it without this one, and a terminated Context has woken it
                with suppress(zmq.Again, zmq.ContextTerminated):
                    self._bell.send(b"", zmq.DONTWAIT)

    # -- in the thread

    def _run(self, zap: Zap, ear: Socket) -> None:
        try:
            while not self._stopping:
                self._turn(zap, ear)
        except zmq.ContextTerminated:
            log.warning("the context was terminated before the heartbeat thread was stopped")
        finally:
            if self._beat is not None:
                self._beat.close()
            zap.close()
            ear.close()

    def _turn(self, zap: Zap, ear: Socket) -> None:
        """Wait for the next thing to do, and do it; no error of one part stops the others."""
        while self._orders:
            self._obey(self._orders.popleft())
        self._wait(zap.socket, ear)
        _empty(ear)
        zap.serve()
        if self._beat is not None:
            try:
                self._beat.turn()
            except zmq.ContextTerminated:
                raise
            except Exception as error:
                log.exception("a heartbeat failed")
                self._beat.fail(f"{type(error).__name__}: {error}")

    def _wait(self, *always: Socket) -> None:
        sockets = always if self._beat is None else (*always, *self._beat.sockets)
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        if self._beat is None:
            poller.poll()
        else:
            poller.poll(max(0, int((self._beat.due - self._clock.monotonic()) * 1000) + 1))

    def _obey(self, target: Target | None) -> None:
        if self._beat is not None:
            self._beat.close()
        self._beat = None if target is None else Beat(self._context, target, self._clock)


def _empty(ear: Socket) -> None:
    while True:
        try:
            ear.recv(zmq.DONTWAIT)
        except zmq.Again:
            return
