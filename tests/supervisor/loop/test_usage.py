"""What a thread has used of a core, told by the kernel."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mesh.supervisor.loop.usage import Rivals, Usage, cpu_seconds
from tests.eventually import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells this of threads")


def compute(seconds: float) -> None:
    over = time.thread_time() + seconds
    while time.thread_time() < over:
        sum(range(1000))


@contextmanager
def worker() -> Iterator[tuple[threading.Thread, Callable[[float], None]]]:
    """Give a thread, and what has it compute for some seconds and returns when it has."""
    orders: list[float] = []
    asked, done = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        while asked.acquire() and orders:
            compute(orders.pop())
            done.release()

    def order(seconds: float) -> None:
        orders.append(seconds)
        asked.release()
        assert done.acquire(timeout=30)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread, order
    finally:
        asked.release()
        thread.join()


def test_what_a_thread_computes_is_told_to_any_other() -> None:
    with worker() as (thread, order):
        usage = Usage(thread)
        before = usage.read()
        order(0.2)
        after = usage.read()
        usage.close()
    assert before.cpu is not None and after.cpu is not None
    assert 0.15 < after.cpu - before.cpu < 0.5 and after.queued >= before.queued


def test_a_thread_that_has_ended_has_no_usage() -> None:
    with worker() as (thread, _):
        assert cpu_seconds(thread) is not None
    wait_until(lambda: cpu_seconds(thread) is None)  # the kernel is a little later than Python


def test_the_rival_is_who_used_most_since_the_last_look() -> None:
    with worker() as (first, order_first), worker() as (second, order_second):
        rivals = Rivals((threading.current_thread(),))
        rivals.look()
        order_first(0.3)
        assert rivals.look() is first
        order_second(0.3)
        assert rivals.look() is second
