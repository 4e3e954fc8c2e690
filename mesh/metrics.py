"""Figures: what is counted, how it is called, and where it is read when somebody asks.

A module declares its instruments next to the code that keeps the figure, and the object that keeps it yields a sample
of each from a method `samples`. The figure itself is a plain number that the object has anyway, so counting costs the
path one addition, and a program that nobody scrapes pays nothing more. Nothing here knows Prometheus: what it is told
is the exporter's matter.

Names are those Prometheus asks for: `mesh_` first, base units, `_total` for what only grows. A label has a value for
each service, operation, error code or peer that the mesh knows, never one that a caller can make up.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Program = Literal["host", "registry"]
Source = Callable[[], "Iterable[Sample]"]

HOST: tuple[Program, ...] = ("host",)
REGISTRY: tuple[Program, ...] = ("registry",)
BOTH: tuple[Program, ...] = ("host", "registry")

_NAME = re.compile(r"mesh(_[a-z0-9]+)+\Z")
_LABEL = re.compile(r"[a-z]+\Z")
_UNITS = ("_seconds", "_bytes")

log = logging.getLogger("mesh.metrics")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One figure as the outside knows it; `programs` are those that show it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    programs: tuple[Program, ...] = HOST

    def sample(self, value: float, *labels: str) -> Sample:
        """Return the figure as it is now, under a value for each label."""
        self._check(labels)
        return Sample(self, labels, value)

    def spread(self, latency: Latency, *labels: str) -> Sample:
        """Return a histogram as it is now, under a value for each label."""
        self._check(labels)
        return Sample(self, labels, latency.sum, tuple(latency.counts))

    def _check(self, labels: tuple[str, ...]) -> None:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, given were {labels}")


class Sample(NamedTuple):
    """What an instrument showed at one moment; a histogram has its sum as value, and `counts` as `Latency` keeps them.

    `number` is that of the instance whose figure it is; the page shows it from the second on, as a label of its own.
    """

    instrument: Instrument
    labels: tuple[str, ...]
    value: float
    counts: tuple[int, ...] | None = None
    number: int = 1

    def of_instance(self, number: int) -> Sample:
        """Return the same figure of the instance of that number."""
        return self if number == 1 else self._replace(number=number)


_declared: dict[str, Instrument] = {}


def declared() -> Mapping[str, Instrument]:
    """Return every instrument of the modules that were imported, by name."""
    return dict(_declared)


def counter(name: str, help: str, *labels: str, programs: tuple[Program, ...] = HOST) -> Instrument:
    """Declare what only grows while the process lives; the name ends in `_total`."""
    return _declare(Instrument(name, "counter", help, labels, programs))


def gauge(name: str, help: str, *labels: str, programs: tuple[Program, ...] = HOST) -> Instrument:
    """Declare what goes up and down."""
    return _declare(Instrument(name, "gauge", help, labels, programs))


def histogram(name: str, help: str, *labels: str, programs: tuple[Program, ...] = HOST) -> Instrument:
    """Declare durations, kept in a `Latency`; the name ends in `_seconds`."""
    return _declare(Instrument(name, "histogram", help, labels, programs))


def _declare(instrument: Instrument) -> Instrument:
    """Keep an instrument; raises `ValueError` for a name that Prometheus would not like or that another one has."""
    name = instrument.name
    if not _NAME.match(name) or not all(_LABEL.match(label) for label in instrument.labels):
        raise ValueError(f"{name}{instrument.labels}: names are mesh_small_words, labels one small word")
    if (instrument.kind == "counter") != name.endswith("_total"):
        raise ValueError(f"{name}: a counter ends in _total, and nothing else does")
    if instrument.kind == "histogram" and not name.endswith(_UNITS):
        raise ValueError(f"{name}: a histogram ends in its unit, {' or '.join(_UNITS)}")
    if not instrument.help.endswith("."):
        raise ValueError(f"{name}: its help is a sentence")
    if _declared.setdefault(name, instrument) != instrument:
        raise ValueError(f"{name} is declared twice, each time otherwise")
    return instrument


UNREAD = counter("mesh_metrics_unread_total", "Sources of figures that failed when they were read.", programs=BOTH)


class Metrics:
    """The sources of one process. `read` ones are read on its loop, `read_anywhere` ones in whichever thread asks."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._live: list[Source] = []
        self._unread = 0
        self._told: set[Source] = set()

    def read(self, *sources: Source) -> None:
        """Have these read on the loop at each scrape."""
        self._sources += sources

    def read_anywhere(self, *sources: Source) -> None:
        """Have these read in the scraping thread, also while the loop stands still."""
        self._live += sources

    def taken(self) -> list[Sample]:
        """Return a sample of everything that belongs to the loop; to be called on it."""
        return [*self._gathered(self._sources), UNREAD.sample(self._unread)]

    def live(self) -> list[Sample]:
        """Return a sample of everything that any thread may read."""
        return list(self._gathered(self._live))

    def _gathered(self, sources: Iterable[Source]) -> Iterator[Sample]:
        """Yield what the sources have; one that fails takes none of the others along."""
        for source in list(sources):
            try:
                yield from list(source())
            except Exception:
                self._unread += 1
                if source not in self._told:
                    self._told.add(source)
                    log.exception("figures could not be read, others are shown; this is said once")


# -- figures that several parts keep

RECEIVED_FRAMES = counter("mesh_frames_received_total", "Frames read from links and sessions.", programs=BOTH)
SENT_FRAMES = counter("mesh_frames_sent_total", "Frames sent on links and sessions.", programs=BOTH)
RECEIVED_ENVELOPES = counter(
    "mesh_envelopes_received_total", "Envelopes in the frames read; a call, a reply and an event is one each.",
    programs=BOTH,
)
SENT_ENVELOPES = counter("mesh_envelopes_sent_total", "Envelopes in the frames sent.", programs=BOTH)
RECEIVED_BYTES = counter("mesh_received_bytes_total", "Bytes of the frames read, before encryption.", programs=BOTH)
SENT_BYTES = counter("mesh_sent_bytes_total", "Bytes of the frames sent, before encryption.", programs=BOTH)
UNDECODABLE = counter("mesh_undecodable_total", "Frames and envelopes that the protocol does not allow.", programs=BOTH)
STRAYS = counter("mesh_stray_answers_total", "Answers to calls that this end does not wait for and has not given up.",
                 programs=BOTH)
LOST_EVENTS = counter(
    "mesh_events_lost_total", "Events that peers had to drop before they could be sent here, as they say.",
    programs=BOTH,
)


@dataclass(slots=True)
class Traffic:
    """What passed the sockets of one process; `events_dropped` are those that connections which ended left behind."""

    frames_in: int = 0
    frames_out: int = 0
    envelopes_in: int = 0
    envelopes_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    undecodable: int = 0
    strays: int = 0
    events_lost: int = 0
    events_dropped: int = 0

    def samples(self) -> Iterator[Sample]:
        """Yield the figures."""
        yield RECEIVED_FRAMES.sample(self.frames_in)
        yield SENT_FRAMES.sample(self.frames_out)
        yield RECEIVED_ENVELOPES.sample(self.envelopes_in)
        yield SENT_ENVELOPES.sample(self.envelopes_out)
        yield RECEIVED_BYTES.sample(self.bytes_in)
        yield SENT_BYTES.sample(self.bytes_out)
        yield UNDECODABLE.sample(self.undecodable)
        yield STRAYS.sample(self.strays)
        yield LOST_EVENTS.sample(self.events_lost)


def _bounds() -> Iterator[float]:
    """Yield the upper bounds of the buckets: 26 to a decade, among them 1, 2.5 and 5."""
    yield 1e-6
    for decade in range(-6, 4):
        for low, high, steps in ((1.0, 2.5, 10), (2.5, 5.0, 8), (5.0, 10.0, 8)):
            for step in range(1, steps):
                yield low * (high / low) ** (step / steps) * 10.0**decade
            yield float(f"{high}e{decade}")


BOUNDS: tuple[float, ...] = tuple(_bounds())
"""Upper bounds in seconds of the buckets of a `Latency`, from a microsecond to 10,000 seconds; one more holds the rest.
"""


class Latency:
    """A histogram of durations whose buckets grow by less than a tenth: a quantile is right within five per cent."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    @staticmethod
    def merged(parts: Iterable[Latency]) -> Latency:
        """Return all durations of several."""
        whole, given = Latency(), list(parts)
        if given:
            whole.counts = [sum(column) for column in zip(*(part.counts for part in given), strict=True)]
            whole.sum = sum(part.sum for part in given)
        return whole

    def quantile(self, share: float) -> float | None:
        """Return the duration in seconds below which `share` of the observations lie, None before the first."""
        wanted = share * self.count
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return _middle(bucket)
        return None


def _middle(bucket: int) -> float:
    """Return the duration that stands for a bucket; the first and the last have only one bound."""
    if 0 < bucket < len(BOUNDS):
        return float((BOUNDS[bucket - 1] * BOUNDS[bucket]) ** 0.5)
    return BOUNDS[min(bucket, len(BOUNDS) - 1)]
