"""The metrics page: fresh while the loop turns, there when it does not, harmless whoever asks."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from mesh.clock import Clock
from mesh.exporter import Exporter
from mesh.metrics import BOUNDS, Instrument, Latency, Metrics, Sample, Traffic
from mesh.testing import FakeClock
from tests.eventually import wait_until

# not declared: what is declared has to be shown by a running mesh
STILL = Instrument("mesh_tested_still", "gauge", "A figure that any thread may read.")
TOOK = Instrument("mesh_tested_seconds", "histogram", "Durations.", ("service",))


class Page:
    """An exporter on a loop in a thread of its own, as a host has it, with a figure or two."""

    def __init__(self, port: int = 0, clock: Clock | None = None) -> None:
        self.traffic = Traffic()
        self.latency = Latency()
        self.told: list[str] = []
        metrics = Metrics()
        metrics.read(self.traffic.samples, lambda: [TOOK.spread(self.latency, "kb")])
        metrics.read_anywhere(lambda: [STILL.sample(threading.active_count())])
        self.exporter = Exporter(metrics, "127.0.0.1", port, who="host pc", setting="`hosts: pc: metrics_port:`",
                                 clock=clock or Clock(), trouble=self.told.append)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.on_loop(self.exporter.start)

    def on_loop(self, function: object) -> None:
        """Call a function on the loop and wait until it has been."""
        async def there() -> None:
            function()  # type: ignore[operator]

        asyncio.run_coroutine_threadsafe(there(), self.loop).result(10)

    @property
    def url(self) -> str:
        """Where the page is."""
        assert self.exporter.endpoint is not None
        return self.exporter.endpoint

    def connection(self) -> HTTPConnection:
        """Return a connection to the page's server."""
        return HTTPConnection(self.url.split("/")[2], timeout=30)

    def read(self) -> dict[str, float]:
        """Scrape and return the value of each line."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def close(self) -> None:
        """End loop and exporter."""
        self.on_loop(self.exporter.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


def test_each_scrape_shows_the_figures_of_that_moment(page: Page) -> None:
    page.traffic.frames_in = 3
    assert page.read()["mesh_frames_received_total"] == 3
    page.traffic.frames_in = 8
    fresh = page.read()
    assert (fresh["mesh_frames_received_total"], fresh["mesh_figures_age_seconds"]) == (8, 0)


def test_durations_are_shown_in_cumulative_buckets(page: Page) -> None:
    for seconds in (0.0004, 0.0005, 0.3, 99.0):
        page.latency.observe(seconds)
    shown = page.read()

    def upto(bound: str) -> float:
        return shown[f'mesh_tested_seconds_bucket{{le="{bound}",service="kb"}}']

    assert [upto(bound) for bound in ("0.0001", "0.0005", "0.25", "0.5", "25.0", "+Inf")] == [0, 2, 2, 3, 3, 4]
    assert shown['mesh_tested_seconds_count{service="kb"}'] == 4
    assert shown['mesh_tested_seconds_sum{service="kb"}'] == pytest.approx(99.3009)
    assert list(BOUNDS) == sorted(BOUNDS)


def test_what_the_process_is_stands_beside(page: Page) -> None:
    shown = page.read()
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_start_time_seconds", 'python_gc_collections_total{generation="2"}'):
        assert name in shown


def test_a_loop_that_stands_still_is_seen(page: Page) -> None:
    page.traffic.frames_in = 3
    page.read()
    page.traffic.frames_in = 4
    release = threading.Event()
    page.loop.call_soon_threadsafe(release.wait, 30)
    try:
        shown = page.read()
        assert shown["mesh_frames_received_total"] == 3
        assert shown["mesh_figures_age_seconds"] >= 1
        assert shown["mesh_tested_still"] >= 1
    finally:
        release.set()
    wait_until(lambda: page.read()["mesh_frames_received_total"] == 4, 10)
    assert page.read()["mesh_figures_age_seconds"] == 0


def test_nothing_but_the_page_is_served(page: Page) -> None:
    for method, path, status in (("GET", "/", 404), ("GET", "/metrics/x", 404), ("POST", "/metrics", 405),
                                 ("DELETE", "/metrics", 405), ("HEAD", "/metrics", 405), ("GET", "/metrics?x=1", 200)):
        connection = page.connection()
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert (method, path, answer.status) == (method, path, status)
        connection.close()


def test_open_metrics_are_given_to_who_asks_for_them(page: Page) -> None:
    request = urllib.request.Request(page.url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_readers_that_stand_still_hold_up_neither_the_loop_nor_the_host(page: Page) -> None:
    where = ("127.0.0.1", int(page.url.split(":")[2].split("/")[0]))
    still = [socket.create_connection(where) for _ in range(20)]
    try:
        began = time.monotonic()
        page.on_loop(lambda: None)
        assert time.monotonic() - began < 5
        wait_until(lambda: _threads() <= 8, 10)
        for one in still:
            one.close()
        wait_until(lambda: _answers(page), 30)
    finally:
        for one in still:
            one.close()


def _threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def _answers(page: Page) -> bool:
    try:
        return bool(page.read())
    except OSError:
        return False


def test_a_port_that_is_taken_is_told_once_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        clock = FakeClock()
        told: list[str] = []

        async def scenario() -> tuple[dict[str, str | None], dict[str, str | None]]:
            exporter = Exporter(Metrics(), "127.0.0.1", port, who="host pc", setting="`hosts: pc: metrics_port:`",
                                clock=clock, trouble=told.append)
            exporter.start()
            await clock.advance(10)
            await clock.advance(10)
            without = exporter.row()
            taken.close()
            await clock.advance(10)
            found = exporter.row()
            exporter.stop()
            return without, found

        without, found = asyncio.run(scenario())
    assert len(told) == 1
    assert f"the metrics page of host pc cannot listen at tcp://127.0.0.1:{port}" in told[0]
    assert "`hosts: pc: metrics_port:`" in told[0] and "tried again every 10 s" in told[0]
    assert without["endpoint"] is None and without["reason"] is not None and without["reason"] in told[0]
    assert found == {"endpoint": f"http://127.0.0.1:{port}/metrics", "reason": None}


def test_the_port_is_free_again_when_the_exporter_stopped() -> None:
    page = Page()
    page.read()
    where = ("127.0.0.1", int(page.url.split(":")[2].split("/")[0]))
    page.close()

    def refused() -> bool:
        try:
            socket.create_connection(where, 1).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, 10)


def test_of_two_samples_of_one_series_the_later_counts() -> None:
    from mesh.scrape import Families

    samples = [Sample(STILL, (), 1.0), Sample(STILL, (), 2.0)]
    [family] = Families(lambda: samples).collect()
    assert [sample.value for sample in family.samples] == [2.0]


def test_figures_of_further_instances_are_shown_beside_those_of_the_first_under_their_number() -> None:
    from prometheus_client import generate_latest
    from prometheus_client.registry import CollectorRegistry

    from mesh.metrics import Latency
    from mesh.policy.measure import CALLS, SECONDS
    from mesh.scrape import Families

    both = [part for number in (1, 2) for part in (
        CALLS.sample(number, "nlu", "parse", "ok").of_instance(number),
        SECONDS.spread(Latency(), "nlu", "parse").of_instance(number))]
    registry = CollectorRegistry()
    registry.register(Families(lambda: both))
    page = generate_latest(registry).decode()
    assert 'mesh_calls_total{code="ok",operation="parse",service="nlu"} 1.0' in page
    assert 'mesh_calls_total{code="ok",number="2",operation="parse",service="nlu"} 2.0' in page
    assert 'mesh_call_seconds_count{number="2",operation="parse",service="nlu"} 0.0' in page
