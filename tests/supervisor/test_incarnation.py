"""Incarnations grow, whatever happens to the clock or to the folder they are kept in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mesh.errors import StartError
from mesh.supervisor.incarnation import counting, host_incarnation
from mesh.testing import FakeClock

WALL = 1_800_000_000.0


def test_the_first_is_the_time_in_milliseconds_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "state" / "incarnation"
    assert host_incarnation(file, FakeClock(wall=WALL)) == 1_800_000_000_000
    assert file.read_text() == "1800000000000\n" and list(file.parent.iterdir()) == [file]


def test_it_grows_with_every_start_also_within_one_millisecond(tmp_path: Path) -> None:
    file, clock = tmp_path / "incarnation", FakeClock(wall=WALL)
    numbers = [host_incarnation(file, clock) for _ in range(3)]
    assert numbers == [1_800_000_000_000, 1_800_000_000_001, 1_800_000_000_002]


def test_a_clock_that_was_set_back_does_not_take_it_back(tmp_path: Path) -> None:
    file = tmp_path / "incarnation"
    first = host_incarnation(file, FakeClock(wall=WALL))
    assert host_incarnation(file, FakeClock(wall=WALL - 10_000)) == first + 1


def test_a_folder_that_was_deleted_does_not_take_it_back(tmp_path: Path) -> None:
    file = tmp_path / "state" / "incarnation"
    first = host_incarnation(file, FakeClock(wall=WALL))
    shutil.rmtree(file.parent)
    assert host_incarnation(file, FakeClock(wall=WALL + 0.002)) == first + 2


@pytest.mark.parametrize("content", [b"", b"soon\n", b"\xff\xfe", b"12.5\n"])
def test_a_file_that_holds_no_number_counts_as_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "incarnation"
    file.write_bytes(content)
    assert host_incarnation(file, FakeClock(wall=WALL)) == 1_800_000_000_000


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(StartError, match=r"cannot write .*/state/incarnation: .*MESH_HOME"):
        host_incarnation(tmp_path / "state" / "incarnation", FakeClock())
    (tmp_path / "home" / "incarnation.new").mkdir(parents=True)
    with pytest.raises(StartError, match=r"cannot write .*/home/incarnation: "):
        host_incarnation(tmp_path / "home" / "incarnation", FakeClock())


def test_the_cells_of_a_process_never_share_a_number() -> None:
    clock = FakeClock(wall=WALL)
    following = counting(clock)
    assert [following() for _ in range(3)] == [1_800_000_000_000, 1_800_000_000_001, 1_800_000_000_002]
    clock._wall += 5
    assert following() == 1_800_000_005_000
    clock._wall -= 100
    assert following() == 1_800_000_005_001
