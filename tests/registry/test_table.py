"""The table: its numbers, its log, its snapshot."""

from __future__ import annotations

from mesh.directory import Directory, unpack_snapshot
from registry.changes import UNSET, DesiredChange, HostChange, InstanceChange, OverrideChange, Settled
from registry.table import Table
from tests.registry.rows import cells, host

ROW = cells("nlu")[0]


def filled(*, log: int = 4096) -> Table:
    table = Table(7, log=log)
    for change in (HostChange("pc2", host()), InstanceChange("nlu", "pc2", 1, ROW), Settled()):
        assert table.record(change)
    return table


def test_every_change_raises_the_revision_by_one_and_no_change_does_not() -> None:
    table = filled()
    assert table.revision == 3
    for change in (HostChange("pc2", host()), InstanceChange("nlu", "pc2", 1, ROW), Settled(),
                   InstanceChange("tts", "pc2", 1, None), HostChange("pc9", None), OverrideChange("nlu", "a", UNSET)):
        assert not table.record(change)
    assert table.revision == 3 and table.since(7, 3) == []


def test_settings_that_only_look_equal_are_changes() -> None:
    table = filled()
    assert table.record(OverrideChange("nlu", "a", 1))
    assert table.record(OverrideChange("nlu", "a", True))
    assert not table.record(OverrideChange("nlu", "a", True))
    assert table.record(OverrideChange("nlu", "a", None))
    assert table.record(OverrideChange("nlu", "a", UNSET))


def test_whoever_is_behind_gets_the_changes_it_lacks_in_order() -> None:
    table = filled()
    table.record(DesiredChange("nlu", "pc2", "stopped"))
    changes = table.since(7, 2)
    assert changes is not None and [change["kind"] for change in changes] == ["settled", "desired"]
    directory = Directory()
    directory.replace(7, 0, {"settled": False, "hosts": [], "instances": [], "desired": [], "overrides": []})
    everything = table.since(7, 0)
    assert everything is not None and not directory.apply(7, 4, everything).gap
    assert directory.view.desired == {("nlu", "pc2"): "stopped"}


def test_only_a_snapshot_helps_who_is_too_far_behind_ahead_or_of_another_epoch() -> None:
    table = filled(log=2)
    assert table.since(7, 1) is not None
    assert table.since(7, 0) is None and table.since(7, 4) is None and table.since(6, 3) is None


def test_a_snapshot_is_packed_once_per_revision_and_holds_everything() -> None:
    table = filled()
    table.record(DesiredChange("nlu", "pc2", "stopped"))
    table.record(OverrideChange("nlu", "limit", [1, {"a": None}]))
    packed = table.snapshot()
    assert table.snapshot() is packed
    assert unpack_snapshot(packed) == {
        "epoch": 7, "revision": 5, "settled": True, "hosts": [host().to_wire()], "instances": [ROW.to_wire()],
        "desired": [{"service": "nlu", "host": "pc2", "desired": "stopped"}],
        "overrides": [{"service": "nlu", "key": "limit", "value": [1, {"a": None}]}],
    }
    table.record(HostChange("pc2", None))
    assert table.snapshot() is not packed
