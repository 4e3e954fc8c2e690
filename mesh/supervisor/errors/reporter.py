"""The one way onto the error bus: number a record, keep it, publish it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mesh.clock import Clock
from mesh.errorbus import ErrorDetail, Severity, describe, topic_of
from mesh.metrics import Sample, counter
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.errors.notice import Occasion
from mesh.throttle import Throttle

log = logging.getLogger("mesh.errors")

SERVICE = "supervisor"

REPORTS = counter("mesh_reports_total", "Records put on the error bus by this host.", "service", "severity")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
           "critical": logging.CRITICAL}


class Reporter:
    """Reports of one host; `publish` takes topic, payload and origin, `notify` whatever somebody may have to know."""

    def __init__(
        self, host: str, errors: ErrorLog, clock: Clock, publish: Callable[[str, Any, str], None],
        notify: Callable[[ErrorDetail, Occasion | None], None] = lambda record, occasion: None,
    ) -> None:
        self._host = host
        self._errors = errors
        self._clock = clock
        self._publish = publish
        self._notify = notify
        self._throttle = Throttle()
        self._counts = Counter((SERVICE, severity.value) for severity in Severity)
        self._counts.subtract(self._counts)  # there from the start, so that the first one is seen as an increase

    def samples(self) -> Iterator[Sample]:
        """Yield how much was reported of whom."""
        for (service, severity), count in self._counts.items():
            yield REPORTS.sample(count, service, severity)

    def __call__(
        self, error: BaseException | str, *, severity: str, service: str, operation: str | None = None,
        trace_id: str | None = None, context: Mapping[str, Any] | None = None, decision: str | None = None,
        occasion: Occasion | None = "error",
    ) -> str:
        """Put an error on the error bus and return its id; `occasion` is why somebody may have to know of it, if so."""
        record = self._errors.append(describe(
            error, service=service, host=self._host, time=self._clock.time(), severity=Severity(severity),
            operation=operation, trace_id=trace_id, context=context, decision=decision,
        ))
        self._counts[service, record.severity.value] += 1
        log.log(_LEVELS[severity], "%s %s%s: %s", record.id, service, f".{operation}" if operation else "",
                record.message, extra={"service": service, "operation": operation, "trace_id": trace_id})
        self._publish(topic_of(record), record.event(), f"{service}@{self._host}")
        self._notify(record, occasion)
        return record.id

    def trouble(self, kind: str, text: str, *, severity: str = "warning", service: str = SERVICE) -> None:
        """Report what may come in floods, such as strangers at the door: each kind once in 10 s, the rest counted."""
        told = self._throttle.text(kind, text, self._clock.monotonic())
        if told is not None:
            self(told, severity=severity, service=service)
