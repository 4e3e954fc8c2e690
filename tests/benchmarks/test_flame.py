"""A flame graph of an event loop, from counted stacks."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from benchmarks.flame import dearest, svg, tree

LOOP = "main (mesh/supervisor/__main__.py:29);Runner.run (asyncio/runners.py:86)"
STACKS = (
    f"{LOOP} 90",
    f"{LOOP};_wake (mesh/transport/loop.py:75);receive (mesh/transport/channel.py:170) 30",
    f"{LOOP};_wake (mesh/transport/loop.py:75) 10",
    f"{LOOP};work.<locals>.one (bench.py:1) 60",
    "Thread.run (threading.py:971);wait (threading.py:1) 500",
)


def test_only_what_the_loop_calls_back_counts() -> None:
    loop = tree(STACKS)
    assert loop.count == 100
    assert dearest(loop) == [("work.<locals>.one (bench.py:1)", 0.6), ("receive (mesh/transport/channel.py:170)", 0.3),
                             ("_wake (mesh/transport/loop.py:75)", 0.1)]


def test_a_box_is_as_wide_as_its_function_was_at_work_and_below_its_caller() -> None:
    picture = svg(tree(STACKS), "a <call>")
    ElementTree.fromstring(picture)
    boxes = {name: (float(x), float(y), round(float(width) + 0.5)) for name, x, y, width in re.findall(
        r'<title>(\S+)[^<]*</title><rect x="([\d.]+)" y="(\d+)" width="([\d.]+)"', picture)}
    wake, receive = boxes["_wake"], boxes["receive"]
    assert (wake[2], receive[2], boxes["work.&lt;locals&gt;.one"][2]) == (480, 360, 720)
    assert wake[0] == receive[0] == 720 and receive[1] > wake[1]
    assert "a &lt;call&gt;" in picture


def test_stacks_without_a_loop_are_an_empty_picture() -> None:
    ElementTree.fromstring(svg(tree(["Thread.run (threading.py:971) 5"]), "nothing"))
    assert dearest(tree([])) == []
