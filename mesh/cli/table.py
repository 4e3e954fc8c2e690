"""Tables that fit the terminal; into a file or a pipe they are as wide as they are."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.screen import clean, coloured, say, state

GAP = 2
INDENT = "    "


def width() -> int | None:
    """Return how many columns a line may have: the terminal's, what COLUMNS says, None for a file or a pipe."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(20, shutil.get_terminal_size().columns)
    return None


def fitted(text: str, columns: int | None) -> str:
    """Return one line of at most `columns` characters."""
    text = " ".join(clean(text).split()) if "\n" in text else clean(text)
    return text if columns is None or len(text) <= columns else text[: max(0, columns - 1)] + "…"


def folded(text: str, *, indent: int) -> str:
    """Return `text` over as many lines as the terminal needs, all but the first indented; words stay whole."""
    columns = width()
    return text if columns is None else textwrap.fill(text, columns, subsequent_indent=" " * indent,
                                                      break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, whether it holds numbers, and how soon it may go (0: never)."""

    title: str
    number: bool = False
    dispensable: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[Any]], notes: Mapping[int, str] | None = None) -> None:
    """Print rows under titles, within the terminal; `notes` come indented below the row of that index."""
    for text in lines(columns, rows, notes or {}, limit=width()):
        say(text)


def lines(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], notes: Mapping[int, str], *, limit: int | None,
    paint: Callable[[str], str] = state, dim: Callable[[str], str] = lambda text: coloured(text, "dim"),
) -> Iterator[str]:
    """Yield the lines of a table of at most `limit` characters each; `paint` colours a cell, `dim` titles and notes.

    Where there is no room the most dispensable columns go first, then the widest text is cut.
    """
    cells = [[fitted(_cell(value), None) for value in row] for row in rows]
    sizes = [max(len(column.title), *(len(row[at]) for row in cells), 0) for at, column in enumerate(columns)]
    kept = _kept(columns, sizes, limit)
    if limit is not None:
        _cut(columns, sizes, kept, limit)
    yield _joined(columns, kept, sizes, [column.title for column in columns], dim)
    for number, row in enumerate(cells):
        yield _joined(columns, kept, sizes, row, paint)
        if number in notes:
            yield dim(INDENT + fitted(notes[number], None if limit is None else limit - len(INDENT)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _kept(columns: Sequence[Column], sizes: Sequence[int], limit: int | None) -> list[int]:
    kept = list(range(len(columns)))
    while limit is not None and sum(sizes[at] + GAP for at in kept) - GAP > limit:
        worst = max(kept, key=lambda at: columns[at].dispensable)
        if not columns[worst].dispensable:
            break
        kept.remove(worst)
    return kept


def _cut(columns: Sequence[Column], sizes: list[int], kept: Sequence[int], limit: int) -> None:
    while sum(sizes[at] + GAP for at in kept) - GAP > limit:
        texts = [at for at in kept if not columns[at].number] or list(kept)
        widest = max(texts, key=lambda at: sizes[at])
        if sizes[widest] <= 1:
            return
        sizes[widest] -= 1


def _joined(columns: Sequence[Column], kept: Sequence[int], sizes: Sequence[int], row: Sequence[str],
            paint: Callable[[str], str]) -> str:
    parts = []
    for at in kept:
        text = fitted(row[at], sizes[at])
        pad = " " * (sizes[at] - len(text))
        parts.append(pad + paint(text) if columns[at].number else paint(text) + pad)
    return (" " * GAP).join(parts).rstrip()
