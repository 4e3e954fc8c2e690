"""Where the boxes of a drawn graph go: columns from callers to called, ordered so that few lines cross.

Longest path gives the column, a depth-first walk takes out the edges that close circles before, and a few sweeps of
barycentres order each column. Boxes without any edge have no place in this and are returned apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

SWEEPS = 12

Edge = tuple[str, str]


def arrange(names: Sequence[str], edges: Collection[Edge]) -> tuple[list[list[str]], list[str]]:
    """Return the columns, left to right, each from top to bottom, and the names that no edge touches."""
    joined = {name for edge in edges if edge[0] != edge[1] for name in edge}
    alone = [name for name in names if name not in joined]
    forward = _without_circles([name for name in names if name in joined], edges)
    columns: list[list[str]] = []
    for name, depth in sorted(_depths(joined, forward).items()):
        columns.extend([] for _ in range(depth + 1 - len(columns)))
        columns[depth].append(name)
    return _ordered(columns, [edge for edge in edges if edge[0] != edge[1]]), alone


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


def _ordered(columns: list[list[str]], edges: Collection[Edge]) -> list[list[str]]:
    """Order each column by the mean place of the neighbours, to and fro."""
    neighbours = _following([*edges, *((target, source) for source, target in edges)])
    best, fewest = [list(column) for column in columns], _crossings(columns, edges)
    for sweep in range(SWEEPS):
        order = range(len(columns)) if sweep % 2 == 0 else range(len(columns) - 1, -1, -1)
        for at in order:
            places = {name: (row + 0.5) / len(column) for column in columns for row, name in enumerate(column)}
            columns[at].sort(key=lambda name: (_mean([places[each] for each in neighbours[name]]), name))
        if (count := _crossings(columns, edges)) < fewest:
            best, fewest = [list(column) for column in columns], count
    return best


def _crossings(columns: Sequence[Sequence[str]], edges: Collection[Edge]) -> int:
    """Return how many pairs of edges between the same two columns cross."""
    place = {name: (at, row) for at, column in enumerate(columns) for row, name in enumerate(column)}
    lines: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for source, target in edges:
        (left, above), (right, below) = sorted((place[source], place[target]))
        lines.setdefault((left, right), []).append((above, below))
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
    return sum(values) / len(values) if values else 0.0
