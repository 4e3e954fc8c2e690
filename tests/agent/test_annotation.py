"""An annotation in a message reads as its author wrote it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from mesh.agent.annotation import text_of

Count = Annotated[int, Field(ge=1)]


class Fact(BaseModel):
    """A type of its own."""


@pytest.mark.parametrize(("annotation", "text"), [
    (int, "int"), (None, "None"), (Any, "Any"), (Fact, "Fact"), (Count, "int"), (Count | None, "int | None"),
    (list[Fact], "list[Fact]"), (dict[str, list[Fact] | None], "dict[str, list[Fact] | None]"),
    (tuple[int, ...], "tuple[int, ...]"), (Literal["a", "b"], "Literal['a', 'b']"),
])
def test_without_what_only_the_validator_needs(annotation: Any, text: str) -> None:
    assert text_of(annotation) == text
