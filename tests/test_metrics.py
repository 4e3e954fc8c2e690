"""Quantiles of durations are right within five per cent; instruments have names and labels that Prometheus likes."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mesh.policy.measure  # noqa: F401 - declares the instruments used here
from mesh.metrics import Latency, Metrics, Sample, Traffic, counter, declared, gauge, histogram


def filled(durations: list[float]) -> Latency:
    latency = Latency()
    for seconds in durations:
        latency.observe(seconds)
    return latency


def test_before_the_first_duration_there_is_no_quantile() -> None:
    assert Latency().quantile(0.5) is None
    assert Latency().count == 0


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
@settings(deadline=None)
def test_a_quantile_is_within_five_per_cent(durations: list[float], share: float) -> None:
    latency = filled(durations)
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    assert latency.count == len(durations)
    assert latency.quantile(share) == pytest.approx(exact, rel=0.051)


def test_quantiles_of_many_durations() -> None:
    made = random.Random(1)
    durations = [made.lognormvariate(-7, 1) for _ in range(20_000)]
    latency = filled(durations)
    for share in (0.5, 0.99):
        assert latency.quantile(share) == pytest.approx(sorted(durations)[int(share * 20_000)], rel=0.06)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9])
def test_what_is_too_short_to_measure_counts_as_a_microsecond(seconds: float) -> None:
    assert filled([seconds]).quantile(0.5) == pytest.approx(1e-6, rel=0.051)


def test_a_long_duration_does_not_move_the_median() -> None:
    assert filled([0.001] * 9 + [3600]).quantile(0.5) == pytest.approx(0.001, rel=0.051)


def test_memory_does_not_grow_with_the_number_of_durations() -> None:
    assert len(filled([1.1**power * 1e-6 for power in range(300)] * 10).counts) == len(Latency().counts) < 300


def test_traffic_begins_at_zero() -> None:
    traffic = Traffic()
    assert (traffic.frames_in, traffic.frames_out, traffic.envelopes_in, traffic.envelopes_out) == (0, 0, 0, 0)
    assert (traffic.undecodable, traffic.events_lost) == (0, 0)


def test_an_instrument_keeps_to_the_names_of_prometheus() -> None:
    for name, labels in (("calls_total", ()), ("mesh_Calls_total", ()), ("mesh_calls", ()), ("mesh_x_total", ("a-b",))):
        with pytest.raises(ValueError, match=name):
            counter(name, "Counts.", *labels)
    with pytest.raises(ValueError, match="a counter ends in _total"):
        gauge("mesh_wrong_total", "Goes up and down.")
    with pytest.raises(ValueError, match="_seconds or _bytes"):
        histogram("mesh_wrong", "Lasts.")
    with pytest.raises(ValueError, match="is a sentence"):
        gauge("mesh_wrong", "no full stop")
    assert not [name for name in declared() if "wrong" in name]


def test_a_name_means_one_thing() -> None:
    calls = declared()["mesh_calls_total"]
    assert counter(calls.name, calls.help, *calls.labels, programs=calls.programs) == calls
    with pytest.raises(ValueError, match="declared twice"):
        counter(calls.name, "Something else.", *calls.labels)


def test_a_sample_has_a_value_for_each_label() -> None:
    calls = declared()["mesh_calls_total"]
    assert calls.sample(3, "kb", "find", "ok").labels == ("kb", "find", "ok")
    with pytest.raises(ValueError, match="has the labels"):
        calls.sample(3, "kb")


def test_declaring_and_reading_imports_no_prometheus() -> None:
    program = ("import sys, mesh.supervisor.supervisor, registry.daemon, mesh.cli\n"
               "sys.exit(any(name.startswith(('prometheus_client', 'http.server')) for name in sys.modules))")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_source_that_fails_takes_no_other_along(caplog: pytest.LogCaptureFixture) -> None:
    metrics, traffic = Metrics(), Traffic(frames_in=7)

    def broken() -> Iterator[Sample]:
        yield declared()["mesh_undecodable_total"].sample(1)
        raise RuntimeError("made to fail")

    metrics.read(broken, traffic.samples)
    for scrape in (1, 2):
        values = {sample.instrument.name: sample.value for sample in metrics.taken()}
        assert (values["mesh_frames_received_total"], values["mesh_metrics_unread_total"]) == (7, scrape)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_several_latencies_become_one() -> None:
    parts = [filled([0.001, 0.002]), filled([0.5]), Latency()]
    whole = Latency.merged(parts)
    assert whole.count == 3
    assert whole.sum == pytest.approx(0.503)
    assert whole.quantile(1.0) == pytest.approx(0.5, rel=0.051)
    assert Latency.merged([]).quantile(0.5) is None
