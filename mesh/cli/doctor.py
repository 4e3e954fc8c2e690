"""`mesh doctor`: a verdict for everything that has to be right, and what to do where it is not."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter

from mesh.cli.diagnosis import GRADES, Verdict, diagnose, worst
from mesh.cli.examination import examine
from mesh.cli.hosts import checked
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, say
from mesh.cli.table import width

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
INDENT = 19


def doctor(scope: Scope, host: str | None) -> int:
    """Print every verdict, or those about one host; returns 1 if anything failed."""
    case = examine(scope)
    if host is not None and case.config is not None:
        checked(host, list(case.config.hosts))
    verdicts = [each for each in diagnose(case) if host is None or not each.hosts or host in each.hosts]
    grade = worst(verdicts)
    if scope.json:
        document({"verdict": grade, "checks": [each.row() for each in verdicts]})
    else:
        _print(verdicts)
    return 1 if grade == "failed" else 0


def _print(verdicts: list[Verdict]) -> None:
    for each in verdicts:
        about = f"{each.hosts[0]}: " if len(each.hosts) == 1 and each.hosts[0] not in each.message.split() else ""
        say(_line(each.grade, each.check, about + each.message))
        if each.hint:
            say(_folded(f"→ {each.hint}", " " * INDENT, "dim"))
    counts = Counter(each.grade for each in verdicts)
    say(", ".join(coloured(f"{counts[grade]} {grade}", COLOURS[grade] if counts[grade] else None) for grade in GRADES))


def _line(grade: str, check: str, message: str) -> str:
    head = f"{grade:8} {check:10}"
    lines = _wrapped(clean(message), INDENT)
    return coloured(grade, COLOURS[grade]) + head[len(grade):] + ("\n" + " " * INDENT).join(lines)


def _folded(text: str, indent: str, colour: str) -> str:
    return "\n".join(indent + coloured(line, colour, sys.stdout)
                     for line in _wrapped(clean(text), len(indent)))


def _wrapped(text: str, indent: int) -> list[str]:
    """Return a text over as many lines as the terminal needs; a file or a pipe takes one."""
    columns = width()
    return [text] if columns is None else textwrap.wrap(text, max(20, columns - indent), break_long_words=False) or [""]
