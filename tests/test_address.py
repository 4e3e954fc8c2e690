"""Names say what they mean: a service, one of its instances, a version beside it."""

from __future__ import annotations

import pytest

from mesh.address import split_target, split_version, version_name
from mesh.errors import InvalidArgument


def test_a_version_is_called_like_its_service_with_the_version_behind() -> None:
    assert version_name("nlu", "v2") == "nlu:v2"
    assert split_version("nlu:v2") == ("nlu", "v2") and split_version("nlu") == ("nlu", "")
    assert split_target("nlu:v2.parse") == ("nlu:v2", "parse")


@pytest.mark.parametrize("version", ["", "V2", "v 2", "v2.1", "v2:v3", "a" * 33])
def test_what_cannot_name_a_version_is_refused_with_what_can(version: str) -> None:
    with pytest.raises(InvalidArgument, match="take small letters, digits and _, as v2"):
        version_name("nlu", version)
    with pytest.raises(InvalidArgument, match="does not name an operation"):
        split_target(f"nlu:{version}.parse.x")
