"""A line of the log as it is printed: JSON for programs; for people time, host, level, place and message."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from mesh.cli.logmerge import seconds_of
from mesh.cli.screen import clean, coloured, line, moment, say, state
from mesh.cli.table import width
from mesh.config import MeshConfig

SHORT = 12


class Printer:
    """Prints lines, wrapped to the terminal; the level is all that is coloured."""

    def __init__(self, config: MeshConfig, *, as_json: bool) -> None:
        self._json = as_json
        self._width = max((len(name) for name in config.hosts), default=0)

    def __call__(self, host: str, told: Mapping[str, Any]) -> None:
        """Print one line of `host`."""
        if self._json:
            line({**told, "host": told.get("host") or host})
            return
        seconds, level = seconds_of(str(told["time"])), str(told.get("level") or "")
        place = ".".join(str(part) for part in (told.get("service"), told.get("operation")) if part) or "-"
        trace = f"  [{str(told['trace_id'])[:SHORT]}]" if told.get("trace_id") else ""
        time_of_day = f"{moment(seconds)}.{int(seconds * 1000) % 1000:03d}"
        head = f"{time_of_day}  {told.get('host') or host:<{self._width}}  "
        text = clean(f"{place}  {told.get('message') or ''}")
        first, *rest = _wrapped(f"{head}{level:<8}  {text}{trace}")
        start = len(head) + len(level)  # the level is all that is coloured: it stands on the first line in any case
        say("\n".join([first[: len(head)] + state(first[len(head) : start]) + first[start:], *rest]))
        if told.get("traceback"):
            say(coloured(textwrap.indent(clean(str(told["traceback"]).rstrip()), "    "), "dim"))


def _wrapped(text: str) -> list[str]:
    """Return the lines of a text, each but the first indented, none wider than the terminal."""
    limit, made = width(), list[str]()
    for number, each in enumerate(text.split("\n")):
        indent = "    " if number else ""
        made += [f"{indent}{each}"] if limit is None else textwrap.wrap(
            each, limit, initial_indent=indent, subsequent_indent="    ", drop_whitespace=False,
            replace_whitespace=False, expand_tabs=False) or [""]
    return made
