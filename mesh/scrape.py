"""Answers to scrapes: samples as Prometheus reads them, over HTTP. Imported when the first one comes."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import accumulate
from socketserver import ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mesh.metrics import BOUNDS, Instrument, Sample

PATH = "/metrics"
AT_ONCE = 8
SILENCE = 10.0

SHOWN = tuple(bound for bound in (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0
))
"""The buckets that are shown: few, for each is a series of its own; quantiles in `mesh agents` use all of them."""

NUMBER = "number"
"""The label of an instance's figures, from the second instance of a service on a host on."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_KINDS: Mapping[str, type[Family]] = {
    "counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily,
}
_PLACES = [(str(bound), BOUNDS.index(bound)) for bound in SHOWN]

log = logging.getLogger("mesh.scrape")


class Families(Collector):
    """The samples of a moment, by instrument."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Yield a family for each instrument that has a sample; of two samples of one series the later counts."""
        families: dict[Instrument, dict[tuple[tuple[str, ...], int], Sample]] = {}
        for sample in self._samples():
            families.setdefault(sample.instrument, {})[sample.labels, sample.number] = sample
        for instrument, series in families.items():
            yield _family(instrument, series.values())


def _family(instrument: Instrument, samples: Iterable[Sample]) -> Metric:
    family = _empty(instrument, instrument.labels)
    for sample in samples:
        if sample.number == 1:
            _add(family, sample, sample.labels)
        else:
            numbered = _empty(instrument, (*instrument.labels, NUMBER))
            _add(numbered, sample, (*sample.labels, str(sample.number)))
            family.samples += numbered.samples
    return family


def _empty(instrument: Instrument, labels: tuple[str, ...]) -> Family:
    kind = _KINDS[instrument.kind]
    return kind(instrument.name, instrument.help, labels=labels)


def _add(family: Family, sample: Sample, labels: tuple[str, ...]) -> None:
    if isinstance(family, HistogramMetricFamily):
        family.add_metric(labels, buckets=_buckets(sample.counts or ()), sum_value=sample.value)
    else:
        family.add_metric(labels, sample.value)


def _buckets(counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return upper bound and how many lie below it, for each bound that is shown."""
    below = list(accumulate(counts))
    return [*((bound, float(below[place])) for bound, place in _PLACES), ("+Inf", float(below[-1]))]


class Answering(ThreadingMixIn, HTTPServer):
    """Answers at a socket that listens already: a thread for each scrape, eight at most, the rest is hung up on."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, door: socket.socket, samples: Callable[[], Iterable[Sample]]) -> None:
        super().__init__(door.getsockname()[:2], _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = door
        self.timeout = 0
        self.registry = CollectorRegistry()
        self.registry.register(Families(samples))
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=self.registry)
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one connection in a thread of its own, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a reader went away, or worse."""
        log.debug("a scrape by %s was not answered", client_address, exc_info=True)


class _Answer(BaseHTTPRequestHandler):
    """One request: GET /metrics, and nothing else."""

    server: Answering
    server_version = "mesh"
    sys_version = ""
    timeout = SILENCE

    def do_GET(self) -> None:
        """Answer with the page."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, explain=f"the figures are at {PATH}")
            return
        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        page = encode(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def _refuse(self) -> None:
        self.send_error(405, explain="only GET is answered")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""
