"""A file counts as saved once it has changed and rests."""

from __future__ import annotations

from pathlib import Path

from mesh.supervisor.adjusting.saves import GONE, Saves
from mesh.supervisor.adjusting.sources import Stamp

ONE, TWO = Path("one.py"), Path("two.py")


def stamps(one: int | None, two: int | None = 0) -> dict[Path, Stamp | None]:
    return {path: None if at is None else (at, 10, 1) for path, at in ((ONE, one), (TWO, two))}


def test_the_first_look_only_learns() -> None:
    saves = Saves()
    assert saves.look(stamps(1), 0.0) == set() == saves.look(stamps(1), 0.2)


def test_a_change_is_told_once_when_it_rests() -> None:
    saves = Saves()
    saves.look(stamps(1), 0.0)
    assert saves.look(stamps(2), 0.2) == set()
    assert saves.look(stamps(3), 0.4) == set(), "it is still being written"
    assert saves.look(stamps(3), 0.6) == {ONE}
    assert saves.look(stamps(3), 0.8) == set()
    assert saves.look(stamps(4, 1), 1.0) == set()
    assert saves.look(stamps(4, 1), 1.2) == {ONE, TWO}


def test_what_is_changed_back_was_not_saved() -> None:
    saves = Saves()
    saves.look(stamps(1), 0.0)
    saves.look(stamps(2), 0.2)
    assert saves.look(stamps(1), 0.4) == set() == saves.look(stamps(1), 0.6)


def test_a_gap_while_an_editor_renames_is_no_removal() -> None:
    saves = Saves()
    saves.look(stamps(1), 0.0)
    assert saves.look(stamps(None), 0.2) == set() == saves.look(stamps(None), 0.4)
    assert saves.look(stamps(5), 0.6) == set()
    assert saves.look(stamps(5), 0.8) == {ONE}


def test_a_removal_and_a_new_file_are_told() -> None:
    saves = Saves()
    saves.look(stamps(1), 0.0)
    saves.look(stamps(None), 0.2)
    assert saves.look({TWO: (0, 10, 1)}, 0.2 + GONE) == {ONE}
    new = {**stamps(None), Path("new.yaml"): (1, 1, 1)}
    assert saves.look(new, 2.0) == set()
    assert saves.look(new, 2.2) == {Path("new.yaml")}
