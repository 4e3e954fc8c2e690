"""What a process prints is kept at a bounded rate in a bounded file, and what is left out is counted and said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.supervisor.process import output as output_module
from mesh.supervisor.process.output import BURST, MAX_BYTES, RATE, TELL_SECONDS, Output
from mesh.testing import FakeClock


class Kept:
    """An output of a test, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.dropped: list[int] = []
        self.path = folder / "logs" / "agent-it.out"
        self.output = Output(self.path, self.clock, self.dropped.append)

    @property
    def text(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.output.close()


def test_what_is_printed_is_kept_as_it_is(kept: Kept) -> None:
    kept.output.take(b"one\n")
    kept.output.take(b"two \xff")
    assert kept.text == b"one\ntwo \xff"
    assert kept.output.tail == "one\ntwo �"
    kept.output.close()
    assert kept.dropped == []


def test_nothing_printed_leaves_no_file(kept: Kept) -> None:
    kept.output.take(b"")
    kept.output.close()
    assert not kept.path.exists()


def test_a_burst_is_kept_whole_and_the_rest_is_counted(kept: Kept) -> None:
    kept.output.take(b"x" * BURST)
    assert kept.dropped == []
    kept.output.take(b"y" * 1000)
    assert kept.dropped == [1000]
    assert len(kept.text.replace(b"x" * BURST, b"")) < 100 and b"1000 bytes left out here" in kept.text
    assert kept.output.tail.endswith("y" * 1000), "the last words are known, kept or not"


def test_the_rate_is_64_kib_a_second_and_what_was_left_out_is_told_once_in_10_s(kept: Kept) -> None:
    kept.output.take(b"x" * BURST)
    seconds = 12
    for _ in range(seconds):
        kept.clock._now += 1.0
        kept.output.take(b"z" * 1_000_000)
    kept.output.close()
    older = kept.path.with_name(f"{kept.path.name}.1").read_bytes()
    assert older.count(b"z") + kept.text.count(b"z") == RATE * seconds
    assert sum(kept.dropped) == seconds * (1_000_000 - RATE)
    assert len(kept.dropped) <= seconds / TELL_SECONDS + 2


def test_a_full_file_is_renamed_and_a_new_one_begun(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "BURST", 10 * MAX_BYTES)
    for _ in range(35):
        kept.clock._now += 10.0
        kept.output.take(b"x" * 100_000)
    kept.output.close()
    sizes = sorted(path.stat().st_size for path in kept.path.parent.iterdir())
    assert [path.name for path in sorted(kept.path.parent.iterdir())] == ["agent-it.out", "agent-it.out.1"]
    assert sizes[-1] <= MAX_BYTES + 100_000


def test_a_file_of_an_earlier_start_goes_on(kept: Kept, tmp_path: Path) -> None:
    kept.output.take(b"before\n")
    kept.output.close()
    again = Output(kept.path, kept.clock, kept.dropped.append)
    again.take(b"after\n")
    again.close()
    assert kept.text == b"before\nafter\n"


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("a file in the place of the folder")
    output = Output(tmp_path / "logs" / "it.out", FakeClock(), lambda count: None)
    output.take(b"one")
    output.take(b"two")
    output.close()
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text
    assert output.tail == "onetwo"
