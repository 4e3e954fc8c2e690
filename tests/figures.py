"""The metrics page of a process as a test reads it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from mesh.metrics import Sample


@dataclass(frozen=True)
class Figures:
    """What one scrape showed: the kinds of the instruments by name, and every series."""

    text: str
    kinds: Mapping[str, str]
    series: tuple[tuple[str, Mapping[str, str], float], ...]

    def all(self, name: str, **labels: str) -> list[float]:
        """Return the values of the series of a name that have these labels."""
        return [value for found, carried, value in self.series
                if found == name and all(carried.get(key) == wanted for key, wanted in labels.items())]

    def of(self, name: str, **labels: str) -> float:
        """Return the sum over the series of a name that have these labels, 0 without any."""
        return sum(self.all(name, **labels))


def scrape(port: int) -> Figures:
    """Read the page at a port of this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    kinds = {family.name + ("_total" if family.type == "counter" else ""): family.type
             for family in families if family.samples}
    series = tuple((sample.name, sample.labels, sample.value) for family in families for sample in family.samples)
    return Figures(text, kinds, series)


def read(samples: Iterable[Sample]) -> dict[tuple[str, ...], float]:
    """Return the values of samples by name and labels; a histogram's is its sum."""
    return {(sample.instrument.name, *sample.labels): sample.value for sample in samples}
