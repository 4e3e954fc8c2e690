"""Where the boxes of a drawn graph go: columns from callers to called, ordered so that few lines cross.

Longest path gives the column, a depth-first walk takes out the edges that close circles before, and a few sweeps of
barycentres order each column. An edge over several columns gets a passage in each column between, so that its line
runs between the boxes and not behind them. Boxes without any edge have no place in this and are returned apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12

Edge = tuple[str, str]
Slot = tuple[str, ...]
"""What stands in a column: a box as (name,), a passage as (source, target, number of the column)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns left to right, each from top to bottom; `routes` are the slots of each edge from source to target."""

    slots: list[list[Slot]]
    routes: dict[Edge, list[Slot]]
    alone: list[str]


def arrange(names: Sequence[str], edges: Collection[Edge]) -> Columns:
    """Return where each name stands, and how each edge that does not lead back or to itself gets to its target."""
    joined = {name for edge in edges if edge[0] != edge[1] for name in edge}
    forward = _without_circles([name for name in names if name in joined], edges)
    depths = _depths(joined, forward)
    columns: list[list[Slot]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for name, depth in sorted(depths.items()):
        columns[depth].append((name,))
    routes: dict[Edge, list[Slot]] = {}
    for source, target in sorted(edges):
        if source != target and depths[source] < depths[target]:
            between = [(source, target, str(at)) for at in range(depths[source] + 1, depths[target])]
            for at, slot in enumerate(between, depths[source] + 1):
                columns[at].append(slot)
            routes[source, target] = [(source,), *between, (target,)]
    steps = [step for route in routes.values() for step in pairwise(route)]
    return Columns(_ordered(columns, steps), routes, [name for name in names if name not in joined])


def _without_circles(names: Sequence[str], edges: Collection[Edge]) -> dict[str, list[str]]:
    """Return the edges by source without those that lead back to where a walk came from."""
    following = _following(edges)
    kept: dict[str, list[str]] = {name: [] for name in names}
    done: set[str] = set()
    called = {target for _, target in edges}
    for start in sorted(names, key=lambda name: (name in called, name)):
        if start in done:
            continue
        path, stack = {start}, [(start, iter(following.get(start, ())))]
        while stack:
            name, rest = stack[-1]
            step = next(rest, None)
            if step is None:
                stack.pop()
                path.discard(name)
                done.add(name)
            elif step not in path:
                kept[name].append(step)
                if step not in done:
                    path.add(step)
                    stack.append((step, iter(following.get(step, ()))))
    return kept


def _depths(names: Iterable[str], forward: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return for each name how many steps the longest way to it has; one nobody calls stands next to whom it calls."""
    before: dict[str, int] = dict.fromkeys(names, 0)
    for targets in forward.values():
        for target in targets:
            before[target] += 1
    depths = dict.fromkeys(before, 0)
    free = sorted(name for name, count in before.items() if not count)
    starts = set(free)
    while free:
        name = free.pop(0)
        for target in forward[name]:
            depths[target] = max(depths[target], depths[name] + 1)
            before[target] -= 1
            if not before[target]:
                free.append(target)
    for name in starts:
        if forward[name]:
            depths[name] = min(depths[target] for target in forward[name]) - 1
    return depths


def _ordered(columns: list[list[Slot]], steps: Sequence[tuple[Slot, Slot]]) -> list[list[Slot]]:
    """Order each column by the mean place of the neighbours, to and fro; `steps` join neighbouring columns."""
    neighbours: dict[Slot, list[Slot]] = {slot: [] for column in columns for slot in column}
    for one, other in steps:
        neighbours[one].append(other)
        neighbours[other].append(one)
    best, fewest = [list(column) for column in columns], _crossings(columns, steps)
    for sweep in range(SWEEPS):
        order = range(len(columns)) if sweep % 2 == 0 else range(len(columns) - 1, -1, -1)
        for at in order:
            places = {slot: (row + 0.5) / len(column) for column in columns for row, slot in enumerate(column)}
            columns[at].sort(key=lambda slot: (_mean([places[each] for each in neighbours[slot]]), slot))
        if (count := _crossings(columns, steps)) < fewest:
            best, fewest = [list(column) for column in columns], count
    return best


def _crossings(columns: Sequence[Sequence[Slot]], steps: Iterable[tuple[Slot, Slot]]) -> int:
    """Return how many lines between the same two columns cross."""
    place = {slot: (at, row) for at, column in enumerate(columns) for row, slot in enumerate(column)}
    lines: dict[int, list[tuple[int, int]]] = {}
    for one, other in steps:
        (left, above), (_, below) = place[one], place[other]
        lines.setdefault(left, []).append((above, below))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < 0
        for group in lines.values() for number, one in enumerate(group) for other in group[number + 1:]
    )


def _following(edges: Iterable[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source, target in sorted(edges):
        if source != target:
            found.setdefault(source, []).append(target)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.5
