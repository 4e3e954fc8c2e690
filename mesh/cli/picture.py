"""A graph of services as dot (for graphviz) and as svg (drawn here, so that nothing need be installed)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from mesh.cli.columns import Columns, Slot, arrange
from mesh.cli.relations import Node, Relation, Relations

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, HEAD, PASSAGE = 190, 30, 130, 14, 24, 64, 4
LETTER = 6.7
ALONE_PER_ROW = 5

HOST_COLOURS = ("#e3eefb", "#e6f4e4", "#fbf0dc", "#f2e6f7", "#e0f3f3", "#f7e4e4")
UNKNOWN = "#f3f3f3"
STATE_COLOURS = {"ready": "#2e8b57", "degraded": "#d9902f", "starting": "#d9902f", "backoff": "#d9902f",
                 "draining": "#d9902f", "stopped": "#8a8a8a", "failed": "#c0392b", "quarantined": "#c0392b",
                 "unreachable": "#c0392b"}
LINE, USED, WRONG = "#a9b1bb", "#33658a", "#c0392b"

LEGEND = (("called", USED, ""), ("calls that failed", WRONG, ""), ("declared only", LINE, "5 3"))

Place = tuple[float, float]


def dot(graph: Relations) -> str:
    """Return the graph in the language of graphviz."""
    lines = ["digraph mesh {", '  rankdir=LR; node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    fills = _fills(graph.nodes)
    for node in graph.nodes:
        lines.append(f"  {_quoted(node.service)} [fillcolor={_quoted(_fill(node, fills))}, "
                     f"tooltip={_quoted(_about(node))}];")
    for one in graph.relations:
        style = "solid" if one.calls or one.declared == "hard" else "dashed"
        label = f", label={_quoted(_count(one.calls))}" if one.calls else ""
        lines.append(f"  {_quoted(one.source)} -> {_quoted(one.target)} [style={style}, color={_quoted(_colour(one))}, "
                     f"tooltip={_quoted(told(one))}{label}];")
    return "\n".join([*lines, "}"])


def svg(graph: Relations, title: str) -> str:
    """Return the graph as a picture of its own: callers left, called right, services without any relation below."""
    names = [node.service for node in graph.nodes]
    columns = arrange(names, {(one.source, one.target) for one in graph.relations})
    places, width, height = _places(columns)
    fills = _fills(graph.nodes)
    nodes = {node.service: node for node in graph.nodes}
    outgoing = Counter(one.source for one in graph.relations)
    incoming = Counter(one.target for one in graph.relations)
    ways = {(one.source, one.target): _way(one, places, columns) for one in graph.relations if one.source != one.target}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">',
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>', *_head(title, fills, width),
        *(_line(one, ways[one.source, one.target])
          for one in sorted(graph.relations, key=lambda one: (one.errors > 0, one.calls)) if one.source != one.target),
        *(_box(nodes[slot[0]], place, fills) for slot, place in places.items() if len(slot) == 1),
        *(_label(one, ways[one.source, one.target], crowded=incoming[one.target] > outgoing[one.source])
          for one in graph.relations if one.calls and one.source != one.target),
    ]
    return "\n".join([*parts, "</svg>"])


def told(one: Relation) -> str:
    """Return a relation in words."""
    words = [] if one.declared is None else ["needs it" if one.declared == "hard" else "calls it (soft)"]
    if one.calls:
        words.append(f"{one.calls} call{'' if one.calls == 1 else 's'}"
                     + (f", {one.errors} failed (last: {one.last_error})" if one.errors else ""))
        words.append(f"of {', '.join(sorted(one.operations))}")
        if one.declared is None:
            words.append("not declared")
    return "; ".join(words)


# --- places


def _places(columns: Columns) -> tuple[dict[Slot, Place], float, float]:
    """Return the upper left corner of each slot, and how large the picture is."""
    inner = max((_tall(column) for column in columns.slots), default=0)
    places: dict[Slot, Place] = {}
    for at, column in enumerate(columns.slots):
        y = HEAD + (inner - _tall(column)) / 2
        for slot in column:
            places[slot] = MARGIN + at * (WIDTH + GAP_X), y
            y += _height(slot) + GAP_Y
    top = HEAD + inner + (HEIGHT if inner and columns.alone else 0)
    per_row = max(ALONE_PER_ROW, (len(columns.slots) * (WIDTH + GAP_X)) // (WIDTH + GAP_Y))
    for at, name in enumerate(columns.alone):
        places[(name,)] = MARGIN + at % per_row * (WIDTH + GAP_Y), top + at // per_row * (HEIGHT + GAP_Y)
    right = max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN
    bottom = max((y for _, y in places.values()), default=HEAD) + HEIGHT + MARGIN
    return places, max(right, 560), bottom


def _height(slot: Slot) -> int:
    return HEIGHT if len(slot) == 1 else PASSAGE - GAP_Y // 2


def _tall(column: Sequence[Slot]) -> int:
    return sum(_height(slot) + GAP_Y for slot in column) - GAP_Y


def _way(one: Relation, places: dict[Slot, Place], columns: Columns) -> list[Place]:
    """Return the points of a line, three to a curve after the first; one that leads back bows below its boxes."""
    route = columns.routes.get((one.source, one.target))
    if route is None:
        return _way_back(places[(one.source,)], places[(one.target,)])
    x, y = places[route[0]]
    points = [(x + WIDTH, y + HEIGHT / 2)]
    for slot in route[1:]:
        (from_x, from_y), (x, y) = points[-1], places[slot]
        y += _height(slot) / 2
        points += [(from_x + GAP_X / 2, from_y), (x - GAP_X / 2, y), (x, y)]
        if len(slot) > 1:  # straight through the column
            points += [(x + WIDTH / 3, y), (x + WIDTH * 2 / 3, y), (x + WIDTH, y)]
    return points


def _way_back(source: Place, target: Place) -> list[Place]:
    (x1, y1), (x2, y2) = source, target
    y1, y2 = y1 + HEIGHT / 2 + 6, y2 + HEIGHT / 2 + 6
    if x1 == x2:  # in the same column
        far = x1 + WIDTH + GAP_X / 2
        return [(x1 + WIDTH, y1), (far, y1), (far, y2), (x2 + WIDTH, y2)]
    down = max(y1, y2) + HEIGHT
    return [(x1, y1), (x1 - GAP_X / 2, down), (x2 + WIDTH + GAP_X / 2, down), (x2 + WIDTH, y2)]


# --- parts


def _head(title: str, fills: dict[str, str], width: float) -> list[str]:
    parts = [
        '<defs>' + "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.8 L8,4 L0,7.2 z" fill="{colour}"/></marker>'
            for name, colour in (("line", LINE), ("used", USED), ("wrong", WRONG))
        ) + "</defs>",
        f'<text x="{MARGIN}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    x: float = MARGIN
    for host, colour in fills.items():
        parts.append(f'<rect x="{x:g}" y="35" width="12" height="12" rx="2" fill="{colour}" stroke="#8a8a8a"/>'
                     f'<text x="{x + 17:g}" y="45">{escape(host)}</text>')
        x += 17 + len(host) * LETTER + 18
    for text, colour, dashes in LEGEND:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<path d="M{x:g},41 h26" stroke="{colour}" stroke-width="2"{dashed}/>'
                     f'<text x="{x + 32:g}" y="45">{text}</text>')
        x += 32 + len(text) * LETTER + 18
    return parts


def _line(one: Relation, way: list[Place]) -> str:
    dashed = "" if one.calls or one.declared == "hard" else ' stroke-dasharray="5 3"'
    weight = 1.2 + min(2.3, math.log10(one.calls + 1) * 0.6)
    marker = {LINE: "line", USED: "used", WRONG: "wrong"}[_colour(one)]
    start, *rest = (f"{x:.1f},{y:.1f}" for x, y in way)
    return (f'<path d="M{start} C{" ".join(rest)}" fill="none" stroke="{_colour(one)}" stroke-width="{weight:.1f}" '
            f'stroke-opacity="0.85"{dashed} marker-end="url(#{marker})">'
            f'<title>{escape(f"{one.source} → {one.target}: {told(one)}")}</title></path>')


def _label(one: Relation, way: list[Place], *, crowded: bool) -> str:
    """Return how often a line was used: towards its end, or before it where that end is `crowded` by other lines."""
    shares = (0.343, 0.441, 0.189, 0.027) if crowded else (0.027, 0.189, 0.441, 0.343)
    x, y = (sum(share * point[axis] for share, point in zip(shares, way[-4:], strict=True)) for axis in (0, 1))
    text = _count(one.calls) + (f" / {_count(one.errors)} failed" if one.errors else "")
    return (f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="middle" font-size="9" fill="{_colour(one)}" stroke="#fff" '
            f'stroke-width="3" paint-order="stroke">{text}</text>')


def _box(node: Node, place: Place, fills: dict[str, str]) -> str:
    x, y = place
    room = int((WIDTH - 30) / LETTER)
    name = node.service if len(node.service) <= room else node.service[: room - 1] + "…"
    dashed = "" if node.known else ' stroke-dasharray="3 3"'
    lamp = STATE_COLOURS.get(node.state or "")
    dot_of = f'<circle cx="{x + 13:g}" cy="{y + HEIGHT / 2:g}" r="4" fill="{lamp}"/>' if lamp else ""
    return (f'<g><title>{escape(_about(node))}</title><rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" '
            f'rx="5" fill="{_fill(node, fills)}" stroke="#6b7580"{dashed}/>{dot_of}'
            f'<text x="{x + 24:g}" y="{y + HEIGHT / 2 + 4:g}">{escape(name)}</text></g>')


def _about(node: Node) -> str:
    words = [node.service + (f" on {', '.join(node.hosts)}" if node.hosts else "")]
    words += [node.state] if node.state else []
    words += [f"hears {', '.join(node.heard)}"] if node.heard else []
    return "; ".join(words if node.known else [*words, "nobody configures it"])


def _fills(nodes: Sequence[Node]) -> dict[str, str]:
    hosts = dict.fromkeys(host for node in nodes for host in node.hosts)
    return {host: HOST_COLOURS[at % len(HOST_COLOURS)] for at, host in enumerate(sorted(hosts))}


def _fill(node: Node, fills: dict[str, str]) -> str:
    return fills[node.hosts[0]] if node.hosts else UNKNOWN


def _colour(one: Relation) -> str:
    return WRONG if one.errors else USED if one.calls else LINE


def _count(number: int) -> str:
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
