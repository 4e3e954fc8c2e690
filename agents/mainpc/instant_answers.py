"""What can be answered without asking anybody: the time, the date, and sums."""

from __future__ import annotations

import ast
import math
import operator
import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

_DAYS = {"tomorrow": 1, "bukas": 1, "yesterday": -1, "kahapon": -1, "the day after tomorrow": 2}
_LONGEST_SUM = 200  # characters
_LARGEST_POWER = 1000
_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}
_WORDS: tuple[tuple[str, str], ...] = (
    (r"(?<=\d),(?=\d{3}\b)", ""), (r"[\u00d7x](?=\s*[\d(])", "*"), (r"\u00f7", "/"), (r"\^", "**"),
    (r"\b(?:the )?(?:sum|total) of ([-\d., ]+) and ([-\d.]+)", r"\1 + \2"),
    (r"\b(?:the )?product of ([-\d.]+) and ([-\d.]+)", r"\1 * \2"),
    (r"\badd ([-\d.]+) (?:and|to) ([-\d.]+)", r"\1 + \2"), (r"\bsubtract ([-\d.]+) from ([-\d.]+)", r"\2 - \1"),
    (r"\bmultiply ([-\d.]+) (?:by|and|with) ([-\d.]+)", r"\1 * \2"), (r"\bdivide ([-\d.]+) by ([-\d.]+)", r"\1 / \2"),
    (r"\b(?:half of|kalahati ng) ([-\d.]+)", r"\1 / 2"), (r"\bdouble ([-\d.]+)", r"\1 * 2"),
    (r"([-\d.]+)\s*(?:%|percent|per cent) (?:of|ng) ([-\d.]+)", r"(\1 / 100 * \2)"),
    (r"\b(?:the )?(?:square root|sqrt) of ([-\d.]+)", r"sqrt(\1)"), (r"\b(?:the )?cube root of ([-\d.]+)", r"cbrt(\1)"),
    (r"\bto the (?:power of )?(\d+)(?:st|nd|rd|th)?(?: power)?", r"** \1"),
    (r"\bsquared\b", "** 2"), (r"\bcubed\b", "** 3"),
    (r"\bplus\b|\badded to\b", "+"), (r"\bminus\b|\bless\b", "-"), (r"\btimes\b|\bmultiplied by\b|\bbeses\b", "*"),
    (r"\bdivided by\b|\bover\b", "/"), (r"\bmod(?:ulo)?\b", "%"),
)
_FILLER = re.compile(
    r"^(?:what(?:'s| is| do| are)|how much is|how many is|calculate|compute|work out|solve|evaluate|kwentahin mo ang|"
    r"ilan ang|magkano ang|i-compute mo(?: ang)?|the (?:result|value) of|the)\s+|\s*(?:for me|please|=|equals?|make)+$",
    re.IGNORECASE,
)
_OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv, ast.USub: operator.neg, ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, Callable[[float], float]] = {"sqrt": math.sqrt, "cbrt": math.cbrt}


def calculate(expression: str) -> float:
    """Return the value of a sum in digits or words; raises `ValueError` that says what is wrong with it."""
    written = _in_signs(expression)
    if len(written) > _LONGEST_SUM:
        raise ValueError(f"it is longer than {_LONGEST_SUM} characters")
    try:
        value = _value(ast.parse(written, mode="eval").body)
    except ZeroDivisionError:
        raise ValueError("it divides by zero") from None
    except OverflowError:
        raise ValueError("its result is too large") from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"'{expression}' is not a sum I can read") from None
    if math.isnan(value) or math.isinf(value):
        raise ValueError("its result is too large")
    return value


def sum_answer(expression: str) -> str:
    """Return a sentence with the result of `expression`, or with the reason why there is none."""
    try:
        value = calculate(expression)
    except ValueError as error:
        return f"I cannot work that out: {error}."
    exact = f"{int(value)}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return f"{_bare(expression)} = {exact}"


def time_answer(now: datetime, place: str | None = None) -> str:
    """Return a sentence with the time here, or at `place` if its time zone is known by that name."""
    if place is None:
        return f"It is {now:%H:%M}."
    zone = _zone_of(place)
    if zone is None:
        return f"I do not know the time zone of {place}; here it is {now:%H:%M}."
    return f"It is {now.astimezone(zone):%H:%M} in {place}."


def date_answer(now: datetime, day: str | None = None) -> str:
    """Return a sentence with the date of today, or of `day` ("tomorrow", "kahapon", ...)."""
    shift = _DAYS.get((day or "").lower(), 0)
    moment = now + timedelta(days=shift)
    when = f"{moment:%A}, {moment.day} {moment:%B %Y}"
    if not shift:
        return f"Today is {when}."
    return f"{str(day).capitalize()} {'is' if shift > 0 else 'was'} {when}."


def _in_signs(expression: str) -> str:
    """Return an expression with its words replaced by signs."""
    text = _bare(expression).lower()
    text = re.sub(r"[a-z]+(?:[ -][a-z]+)*", lambda found: _number_words(found.group()), text)
    for pattern, sign in _WORDS:
        text = re.sub(pattern, sign, text)
    return text.strip()


def _bare(expression: str) -> str:
    """Return an expression without the words that ask for its value."""
    text = expression.strip(" ?.!")
    while (shorter := _FILLER.sub("", text)) != text:
        text = shorter
    return text


def _number_words(words: str) -> str:
    """Return `words` with each run of number words replaced by digits."""
    out: list[str] = []
    value: int | None = None
    for word in re.split(r"[ -]+", words):
        if word in _UNITS:
            value = (value or 0) + _UNITS[word]
        elif word in ("hundred", "thousand") and value is not None:
            value *= 100 if word == "hundred" else 1000
        else:
            out += [*([str(value)] if value is not None else []), word]
            value = None
    return " ".join([*out, *([str(value)] if value is not None else [])])


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):  # True and False cannot be written
        return float(node.value) if abs(node.value) > 2**53 else node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(_value(node.left), _value(node.right))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return _root(node.func.id, _value(node.args[0]))
    raise SyntaxError("something else than numbers and signs")


def _root(name: str, value: float) -> float:
    if name not in _FUNCTIONS:
        raise SyntaxError(f"there is no function {name}")
    if value < 0 and name == "sqrt":
        raise ValueError("a square root of a negative number is no real number")
    return _FUNCTIONS[name](value)


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > _LARGEST_POWER or abs(base) > 1e6:
        raise ValueError("its power is too large")
    if base < 0 and not float(exponent).is_integer():
        raise ValueError("a root of a negative number is no real number")
    return math.pow(base, exponent)  # overflows, where an int would grow


def _zone_of(place: str) -> zoneinfo.ZoneInfo | None:
    wanted = re.sub(r"\W+", "_", place.strip().lower())
    for name in sorted(zoneinfo.available_timezones()):
        if wanted in (name.lower(), name.lower().rpartition("/")[2]):
            return zoneinfo.ZoneInfo(name)
    return None
