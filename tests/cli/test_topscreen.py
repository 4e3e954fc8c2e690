"""The view of `mesh top` fits whatever terminal there is, and says what is not well."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mesh.cli.rates import Row
from mesh.cli.topscreen import Shown, ansi, page

SHOWN = Shown("test", window=12.0, keys="q quits")


def told(
    agents: int = 3, operations: int = 3, errors: int = 3, *, registry: str = "ok", pc2: dict[str, Any] | None = None
) -> Row:
    host = {"name": "mainpc", "state": "ok", "cpu_percent": 12.3, "loop_lag_ms": 0.5, "rss_mb": 51.2, "uptime_s": 70.0,
            "agents": {"ready": 58, "degraded": 2, "failed": 0}, "errors_last_5m": 4, "reason": None}
    return {
        "time": 1_800_000_000.0, "via": "mainpc",
        "registry": {"state": registry, "reason": "no heartbeat" if registry != "ok" else ""},
        "hosts": [host, {**host, "name": "pc2", **(pc2 or {})}],
        "agents": [{"service": f"agent{number}", "host": "mainpc", "state": "ready", "isolation": "coroutine",
                    "calls_per_s": 12.5, "errors_per_s": 0.0, "loop_ms_per_s": 31.0, "p50_ms": 0.123, "p99_ms": 14.2,
                    "inbox": 0} for number in range(agents)],
        "operations": [{"service": "lamp", "operation": f"shine{number}", "host": "mainpc", "calls": 100,
                        "calls_per_s": None, "p50_ms": 1.0, "p99_ms": 20.0} for number in range(operations)],
        "errors": [{"time": 1_800_000_000.0, "severity": "error", "service": "lamp", "host": "mainpc", "count": 3,
                    "message": f"the bulb number {number}\nis broken " + 20 * "and " + "dark"}
                   for number in range(errors)],
    }


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\d*m", "", text)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (40, 12), (20, 5), (300, 100)])
@pytest.mark.parametrize("count", [0, 3, 100])
def test_it_fits_every_terminal(width: int, height: int, count: int) -> None:
    lines = page(told(count, count, count), SHOWN, width=width, height=height, ink=ansi)
    assert len(lines) == height and max(len(plain(line)) for line in lines) <= width
    assert plain(lines[0]).startswith("mesh test") and plain(lines[-1]) == "q quits"


def test_a_full_screen_has_a_share_for_every_table() -> None:
    text = "\n".join(page(told(100, 100, 100), SHOWN, width=80, height=24))
    assert text.count("agent") > text.count("lamp.shine") > 1 and text.count("the bulb number") > 1


def test_what_one_table_does_not_need_the_others_get() -> None:
    lines = page(told(100, 1, 1), SHOWN, width=80, height=24)
    assert sum(line.startswith("agent") for line in lines) == 24 - 1 - 3 - 1 - (1 + 1) * 3 - 2
    assert any(line.startswith("lamp.shine0") for line in lines) and any("the bulb number 0" in line for line in lines)


def test_the_figures_stand_in_their_columns() -> None:
    lines = page(told(), SHOWN, width=140, height=40)
    head = next(line for line in lines if line.startswith("busiest agents"))
    first = next(line for line in lines if line.startswith("agent0"))
    for title, value in (("calls/s", "12.5"), ("loop ms/s", "31.0"), ("p50 ms", "0.12"), ("p99 ms", "14")):
        end = head.index(title) + len(title)
        assert first[:end].endswith(value)
    assert "58 ready, 2 degraded" in lines[2] and "failed" not in lines[2]


def test_a_registry_that_is_gone_is_said_on_top() -> None:
    lines = page(told(registry="unreachable"), SHOWN, width=140, height=24, ink=ansi)
    assert "registry unreachable: no heartbeat; known services stay callable" in lines[0]
    assert lines[0].startswith("\x1b[31m")


def test_a_host_that_is_gone_is_shown_with_the_reason() -> None:
    gone: dict[str, Any] = {**dict.fromkeys(("cpu_percent", "loop_lag_ms", "rss_mb", "uptime_s")), "agents": {},
                            "state": "dead", "reason": "it is dead: refused"}
    lines = page(told(pc2=gone), SHOWN, width=80, height=24)
    assert lines[3].split()[:2] == ["pc2", "dead"] and "it is dead: refused" in lines[4]


def test_a_lost_connection_is_said() -> None:
    shown = Shown("test", trouble="no host answers, what is shown is old: pc2 is silent", keys="q quits")
    assert page(told(), shown, width=80, height=24)[1] == shown.trouble


def test_a_page_has_neither_colour_nor_an_end_of_the_screen() -> None:
    lines = page(told(100, 100, 100), Shown("test"), width=None, height=None)
    assert not any("\x1b" in line for line in lines)
    assert sum(line.startswith("agent") for line in lines) == 20
    assert all(line.endswith("dark") for line in lines if "the bulb number" in line)
    assert "slowest operations so far" in "\n".join(lines)
