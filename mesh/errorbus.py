"""The error bus as data: what a record holds, which errors are the same one, and how a reader joins history and live.

Records are numbered per host. The number is given before the record is stored, and a host that was killed leaves the
numbers it had set aside unused: the first record after that says in `skipped` how many, so that a reader takes them
for what they are and not for a loss.
"""

from __future__ import annotations

import hashlib
import math
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from mesh.address import split_version
from mesh.errors import InvalidArgument, MeshError, ProtocolError

MAX_MESSAGE = 2_000
MAX_TRACEBACK = 16_000
FRAMES = 12
HELD = 10_000

GroupState = Literal["new", "acknowledged", "muted"]


class Standing(NamedTuple):
    """What an operator made of a group: acknowledged until it occurs again, muted until a wall-clock time (None: for
    good)."""

    state: GroupState
    until: float | None = None

    def at(self, now: float) -> GroupState:
        """Return the state then."""
        return "new" if self.until is not None and now >= self.until else self.state


NEW = Standing("new")


class Severity(StrEnum):
    """How bad it is, from least to worst."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Place in the order, 0 for the least."""
        return tuple(Severity).index(self)


class ErrorRecord(BaseModel):
    """What travels on the error bus; `time` is wall-clock seconds, `seq` the number in `id`.

    `opens` is true for the first of its group, the first after the group was acknowledged, and the first after it is no
    longer muted; `muted` for one of a group that is.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    seq: int
    time: float
    severity: Severity
    host: str
    service: str
    operation: str | None = None
    type: str
    message: str
    trace_id: str | None = None
    fingerprint: str
    skipped: int = 0
    opens: bool = False
    muted: bool = False

    def event(self) -> dict[str, Any]:
        """Return what is published: the fields of every reader, without those only the store keeps."""
        return {name: _plain(getattr(self, name)) for name in ErrorRecord.model_fields}


class ErrorDetail(ErrorRecord):
    """What the host keeps besides: the traceback, what the reporter added, and what the supervisor did about it."""

    traceback: str = ""
    context: dict[str, Any] = {}
    decision: str | None = None


class ErrorGroup(BaseModel):
    """All kept records of one host that are the same error; severity is the worst, message and sample the latest.

    `until` is when a muted one will be new again, None for good.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    severity: Severity
    service: str
    host: str
    type: str
    message: str
    count: int
    first_seen: float
    last_seen: float
    sample_id: str
    state: GroupState
    until: float | None = None


class Passed(MeshError):
    """An error that another process of this host has described already."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail.message)
        self.detail = detail


def kind_of(error: BaseException) -> str:
    """Return the name of an error's class, wherever it was raised."""
    return error.detail.type if isinstance(error, Passed) else type(error).__qualname__


def describe(
    error: BaseException | str,
    *,
    service: str,
    host: str,
    time: float,
    severity: Severity = Severity.ERROR,
    operation: str | None = None,
    trace_id: str | None = None,
    context: Mapping[str, Any] | None = None,
    decision: str | None = None,
) -> ErrorDetail:
    """Return the record of an exception or of a plain text, still without a number (`id` "" and `seq` 0)."""
    if isinstance(error, Passed):
        return error.detail.model_copy(update={
            "host": host, "service": service, "severity": severity, "decision": decision,
            "operation": operation or error.detail.operation, "trace_id": trace_id or error.detail.trace_id,
        })
    kind = "Report" if isinstance(error, str) else type(error).__qualname__
    message = error if isinstance(error, str) else _text_of(error, str) or kind
    frames = [] if isinstance(error, str) else frames_of(error)
    trace = "" if isinstance(error, str) else "".join(traceback.format_exception(error))
    return ErrorDetail(
        id="", seq=0, time=time, severity=severity, host=host, service=service, operation=operation, type=kind,
        message=_bounded(message), trace_id=trace_id, fingerprint=fingerprint(service, kind, frames, message),
        traceback=_shortened(trace), context={str(key): _storable(item) for key, item in (context or {}).items()},
        decision=decision,
    )


def fingerprint(service: str, kind: str, frames: Sequence[str], message: str = "") -> str:
    """Return 12 hex digits that are the same for the same error.

    The same error is the same exception class from the same functions (`frames_of`) of one service; line numbers and
    texts may differ. Without frames the text decides, once its numbers, ids and quoted words are taken out.
    """
    what = list(frames) if frames else [normalised(message)]
    return hashlib.sha256("\n".join([service, kind, *what]).encode(errors="replace")).hexdigest()[:12]


_VARIABLE = re.compile(
    r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`"""  # quoted words
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    r"|\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{6,}\b"
    r"|(?<![A-Za-z_])[-+]?\d+(?:[.,:]\d+)*(?:[eE][-+]?\d+)?"
)


def normalised(message: str) -> str:
    """Return a text with its quoted words, hexadecimal ids and numbers each replaced by `?`."""
    return " ".join(_VARIABLE.sub("?", message).split())


def frames_of(error: BaseException) -> list[str]:
    """Return the innermost places an exception passed, outermost first, as `file.py:function`."""
    frames: list[str] = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        place = f"{code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{code.co_name}"
        if not frames or frames[-1] != place:  # a recursion is one place, however deep
            frames.append(place)
        step = step.tb_next
    return frames[-FRAMES:]


def topic_of(record: ErrorRecord) -> str:
    """Return the topic a record is published on; that of a version is the one of its service."""
    return f"errors.{record.severity}.{record.host}.{split_version(record.service)[0]}"


def record_of(payload: Any) -> ErrorRecord:
    """Return the record in an event's payload or a history row; raises `ProtocolError` for anything else."""
    try:
        return ErrorRecord.model_validate(payload)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "payload"
        raise ProtocolError(f"an error record cannot be read: {place}: {problem['msg']}") from None


def make_id(host: str, number: int) -> str:
    """Return the id of a host's record: `pc2-000123`."""
    return f"{host}-{number:06d}"


def number_of(record_id: str, host: str) -> int:
    """Return the number in an id of `host`; raises `InvalidArgument` for anything else."""
    name, dash, digits = record_id.rpartition("-")
    if not dash or not digits.isascii() or not digits.isdigit():
        raise InvalidArgument(f"{record_id!r} is no error id; ids look like {make_id(host, 123)}", path="id")
    if name != host:
        raise InvalidArgument(f"{record_id!r} is an error of host {name}, this is {host}; ask {name} for it", path="id")
    return int(digits)


def group(
    records: Iterable[ErrorRecord], standings: Mapping[str, Standing] | None = None, now: float = 0.0
) -> list[ErrorGroup]:
    """Return the groups of `records` (of any hosts, each host's in order of number), the latest first.

    `standings` has those fingerprints that are not new, as far as they are not at the wall-clock time `now`.
    """
    members: dict[tuple[str, str], list[ErrorRecord]] = {}
    for record in records:
        members.setdefault((record.host, record.fingerprint), []).append(record)
    known = standings or {}
    groups = [_group_of(same, known.get(same[0].fingerprint, NEW), now) for same in members.values()]
    return sorted(groups, key=lambda group: group.last_seen, reverse=True)


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` records of `host` after number `after` that can no longer be had."""

    host: str
    after: int
    count: int


@dataclass(slots=True)
class _Reader:
    """How far one host has been read; `last` is None until it is known where its story starts."""

    last: int | None = None
    waiting: bool = True
    answered: bool = False
    held: dict[int, ErrorRecord] = field(default_factory=dict)


class Joiner:
    """Joins each host's history with its live records: every number once, in order, a loss told with its size.

    Subscribe to all of `errors.#` first, feed what arrives to `live`, ask each host in `wanted()` for its
    `errors_since` and feed the answer to `history`; both return what to show now. A live record that leaves numbers
    out is held back, and its host wanted again: the host may still have what the way here lost. At most `held`
    records per host wait, then the oldest are given up and shown as a gap.
    """

    def __init__(self, since: Mapping[str, str] | None = None, *, held: int = HELD) -> None:
        self._limit = held
        self._readers = {host: _Reader(number_of(last, host)) for host, last in (since or {}).items()}

    def follow(self, host: str) -> None:
        """Want the history of `host` although nothing live came from it yet."""
        self._readers.setdefault(host, _Reader())

    def wanted(self) -> dict[str, str | None]:
        """Return the hosts whose history is needed, with the id to ask for what came since (None: all)."""
        return {
            host: None if reader.last is None else make_id(host, reader.last)
            for host, reader in self._readers.items() if reader.waiting
        }

    def live(self, record: ErrorRecord) -> list[ErrorRecord | Gap]:
        """Take a record that came over the bus."""
        reader = self._readers.setdefault(record.host, _Reader())
        if reader.last is not None and record.seq <= reader.last:
            return []
        reader.held[record.seq] = record
        if reader.waiting or _lost_before(record, reader.last):
            reader.waiting = True
            if len(reader.held) > self._limit:
                del reader.held[min(reader.held)]
            return []
        return _released(record.host, reader, record.seq)

    def history(self, host: str, records: Iterable[ErrorRecord] | None) -> list[ErrorRecord | Gap]:
        """Take a host's answer; None when it cannot answer, and then what is missing is given up.

        An answer may be older than what came live meanwhile, so only gaps below its last number are final.
        """
        reader = self._readers.setdefault(host, _Reader())
        answer = list(records or ())
        newest = max((record.seq for record in answer), default=0)
        for record in answer:
            if reader.last is None or record.seq > reader.last:
                reader.held[record.seq] = record
        given_up = records is None or (reader.answered and newest <= (reader.last or 0))
        if records is not None:
            reader.answered = True
            if reader.last is None and not answer:
                reader.last = 0  # it had reported nothing yet, so its first record will be number 1
        shown = _released(host, reader, math.inf if given_up else newest)
        reader.waiting = bool(reader.held)
        return shown


def _lost_before(record: ErrorRecord, last: int | None) -> int:
    return 0 if last is None else max(0, record.seq - record.skipped - 1 - last)


def _released(host: str, reader: _Reader, known_to: float) -> list[ErrorRecord | Gap]:
    """Empty what is held, in order; a gap is told up to number `known_to`, one beyond stops it there."""
    shown: list[ErrorRecord | Gap] = []
    for number in sorted(reader.held):
        record = reader.held[number]
        lost = _lost_before(record, reader.last)
        if lost and reader.last is not None:
            if number > known_to:
                break
            shown.append(Gap(host, reader.last, lost))
        shown.append(reader.held.pop(number))
        reader.last = number
    return shown


def _group_of(same: list[ErrorRecord], standing: Standing, now: float) -> ErrorGroup:
    latest, state = same[-1], standing.at(now)
    return ErrorGroup(
        fingerprint=latest.fingerprint, severity=max((record.severity for record in same), key=lambda s: s.rank),
        service=latest.service, host=latest.host, type=latest.type, message=latest.message, count=len(same),
        first_seen=min(record.time for record in same), last_seen=max(record.time for record in same),
        sample_id=latest.id, state=state, until=standing.until if state != "new" else None,
    )


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Severity) else value


def _shortened(trace: str) -> str:
    """Keep both ends of a long traceback: where it came from and what was raised."""
    if len(trace) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        trace = f"{trace[:half]}\n... {len(trace) - 2 * half} characters left out ...\n{trace[-half:]}"
    return _encodable(trace)


def _storable(value: Any) -> Any:
    """Return a reporter's value as it can be kept and sent: scalars as they are, the rest as text of bounded length."""
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return _bounded(value if isinstance(value, str) else _text_of(value, repr))


def _text_of(value: object, how: Callable[[object], str]) -> str:
    try:
        return how(value)
    except Exception as error:  # a broken __str__ must not hide the error that is being reported
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def _bounded(text: str) -> str:
    return _encodable(text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}... ({len(text)} characters)")


def _encodable(text: str) -> str:
    """Replace lone surrogates (undecodable file names have them), which cannot be stored or sent."""
    return text.encode(errors="replace").decode()
