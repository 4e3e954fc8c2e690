"""Overrides: which settings may be changed, to what."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import InvalidArgument
from registry import overrides as module
from registry.changes import UNSET, OverrideChange
from registry.overrides import Overrides


def test_setting_and_unsetting_a_key_are_changes_once() -> None:
    overrides = Overrides()
    change = overrides.change("nlu", "engine.timeout_s", 5)
    assert change == OverrideChange("nlu", "engine.timeout_s", 5) and overrides.by_service() == {}
    overrides.take(change)
    assert overrides.by_service() == {"nlu": {"engine.timeout_s": 5}}
    assert overrides.change("nlu", "engine.timeout_s", 5) is None
    assert overrides.change("nlu", "engine.timeout_s", 5.0) is not None
    removal = overrides.removal("nlu", "engine.timeout_s")
    assert removal is not None and removal.value is UNSET
    overrides.take(removal)
    assert overrides.by_service() == {} and overrides.removal("nlu", "engine.timeout_s") is None


def test_a_setting_may_be_null_and_that_is_not_unset() -> None:
    overrides = Overrides([OverrideChange("nlu", "model", None)])
    assert overrides.by_service() == {"nlu": {"model": None}} and overrides.change("nlu", "model", None) is None


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("", 1, "key"), ("a..b", 1, "key"), ("a b", 1, "key"), ("a." * 200 + "a", 1, "key"),
        ("a", b"bytes", "value"), ("a", {"b": [1, b"x"]}, "value.b[1]"), ("a", "x" * 70_000, "value"),
    ],
)
def test_what_no_file_could_hold_is_refused_by_name(key: str, value: Any, path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Overrides().change("nlu", key, value)
    assert caught.value.details["path"] == path


def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    overrides = Overrides([OverrideChange("nlu", "a", 1)])
    assert overrides.change("nlu", "a", 2) is not None
    with pytest.raises(InvalidArgument, match="unset some first"):
        overrides.change("nlu", "b", 1)
