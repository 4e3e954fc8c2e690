"""A flame graph of an event loop's thread, as SVG, and its dearest functions, from stacks that py-spy counted.

A stack is a line `outer;...;inner COUNT`. Of all threads only the loop's counts, and of that what its callbacks do:
what lies on the loop itself is its waiting, its timers and its descriptors, which cannot be told apart.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

LOOP = "Runner.run "
WIDTH = 1200
ROW = 17
HEAD = 34
LEAST = 1.5
"""Pixels; what is narrower is left out."""
CHARACTER = 6.3


@dataclass
class Frame:
    """A function on the stack, in how many samples, and what it called."""

    name: str
    count: int = 0
    called: dict[str, Frame] = field(default_factory=dict)

    @property
    def own(self) -> int:
        """Samples in which nothing that it called was at work."""
        return self.count - sum(frame.count for frame in self.called.values())


def tree(lines: Iterable[str]) -> Frame:
    """Return the callbacks of the loop with all that they called."""
    loop = Frame("callbacks of the event loop")
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        began = next((place for place, name in enumerate(frames) if name.startswith(LOOP)), None)
        if began is None:
            continue
        at = loop
        for name in frames[began + 1:]:
            at = at.called.setdefault(name, Frame(name))
            at.count += int(count)
    loop.count = sum(callback.count for callback in loop.called.values())
    return loop


def dearest(loop: Frame, most: int = 25) -> list[tuple[str, float]]:
    """Return functions with the share of what ran that was their own, the dearest first."""
    own: Counter[str] = Counter()

    def add(frame: Frame) -> None:
        own[frame.name] += frame.own
        for called in frame.called.values():
            add(called)

    add(loop)
    return [(name, count / max(1, loop.count)) for name, count in own.most_common(most) if count]


def svg(loop: Frame, title: str) -> str:
    """Return the picture: callers above what they call, as wide as they were at work."""
    height = HEAD + ROW * (_depth(loop) + 1)
    boxes = "\n".join(_boxes(loop, 0.0, 0, WIDTH / max(1, loop.count), max(1, loop.count)))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" '
            f'font-size="10.5">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            f'<text x="6" y="21" font-size="14">{escape(title)}</text>\n{boxes}\n</svg>\n')


def _boxes(frame: Frame, x: float, depth: int, scale: float, total: int) -> Iterator[str]:
    width = frame.count * scale
    if width < LEAST:
        return
    y = HEAD + ROW * depth
    shown = escape(_cut(frame.name, width))
    yield (f'<g><title>{escape(frame.name)}: {frame.count / total:.1%}, own {frame.own / total:.1%}</title>'
           f'<rect x="{x:.1f}" y="{y}" width="{max(1.0, width - 0.5):.1f}" height="{ROW - 1}" '
           f'fill="{_colour(frame.name)}"/>'
           f'<text x="{x + 3:.1f}" y="{y + 12}">{shown}</text></g>')
    for called in sorted(frame.called.values(), key=lambda one: -one.count):
        yield from _boxes(called, x, depth + 1, scale, total)
        x += called.count * scale


def _depth(frame: Frame) -> int:
    return 1 + max((_depth(called) for called in frame.called.values()), default=0)


def _cut(name: str, width: float) -> str:
    room = int((width - 6) / CHARACTER)
    if len(name) > room:
        name = name.partition(" (")[0].replace(".<locals>", "")
    return name if len(name) <= room else name[:room - 1] + "…" if room > 2 else ""


def _colour(name: str) -> str:
    """Return the colour of a function's file, so that a part of the mesh is seen as one."""
    place = name.partition("(")[2].rpartition(":")[0]
    part = "/".join(place.split("/")[:2])
    if not place.startswith("mesh/"):
        return "#dcdcdc"
    return f"hsl({zlib.crc32(part.encode()) % 360}, 65%, 78%)"
