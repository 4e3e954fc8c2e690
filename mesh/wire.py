"""Messages to frames and back: the protocol of docs/protocol.md, without a socket.

Rules this file holds to:
- A frame is one msgpack array: the sender's monotonic milliseconds at the moment it left, the number of events lost on
  the way to this peer so far, then envelopes. Nothing is kept between two frames.
- An envelope is an array: its kind, its header fields, and last its body as `bin`. Whoever only forwards a body never
  decodes it. An envelope with a body over `CHUNK` bytes travels cut into CHUNK envelopes and is put together again.
- Times in envelopes are the sender's monotonic milliseconds; only the stamp of the same frame gives them meaning.
- A frame either decodes as a whole or raises `ProtocolError`; so does a body, on its own.

What it does not know: sessions, who may say what, and when a frame is late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, NamedTuple, get_args

import msgpack

from mesh.errors import ALWAYS, MeshError, MessageTooLarge, ProtocolError, RemoteFailure, from_wire
from mesh.message import Event, Reply, Request, decode, encode
from mesh.tracing import Trace

VERSION = 1

CHUNK = 64 * 1024
MAX_PART = 256 * 1024
MAX_ENVELOPES = 256
MAX_HEADER = 2 * 1024
MAX_BEGIN = 8 * 1024
MAX_FRAME = 1024 * 1024
MAX_BODY = 256 * 1024 * 1024
MAX_HOPS = 16
MAX_PATTERNS = 4096
MAX_INTEREST = 32 * 1024
MAX_CREDIT = 1024
STREAM_BYTES = 1024 * 1024
LEAST_SHARE = 16
TRACE = 16 + 8 + 8 + 1

PeerKind = Literal["host", "heartbeat", "operator", "cell"]
PEER_KINDS: frozenset[str] = frozenset(get_args(PeerKind))
Envelope = list[Any]


class Kind(IntEnum):
    """What an envelope is; the numbers are the protocol's and never change their meaning."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    RESET = 4
    LEAVING = 5
    CALL = 6
    REPLY = 7
    ERROR = 8
    CANCEL = 9
    EVENT = 10
    CHUNK = 11
    ACK = 12
    INTEREST = 13
    HEARTBEAT = 14
    ECHO = 15
    OPEN = 16
    OPENED = 17
    ITEM = 18
    CREDIT = 19
    END = 20
    ITEMS = 21


HELLO, WELCOME, REFUSED, RESET, LEAVING = (int(kind) for kind in list(Kind)[:5])
CALL, REPLY, ERROR, CANCEL, EVENT = (int(kind) for kind in list(Kind)[5:10])
CHUNK_OF, ACK, INTEREST, HEARTBEAT, ECHO = (int(kind) for kind in list(Kind)[10:15])
OPEN, OPENED, ITEM, CREDIT, END, ITEMS = (int(kind) for kind in list(Kind)[15:])


class BigEnvelope:
    """An encoded envelope over `CHUNK` bytes whose body, the last of it, is not copied before it leaves."""

    __slots__ = ("_body", "_head")

    def __init__(self, head: bytes, body: bytes) -> None:
        self._head = head
        self._body = body

    def __len__(self) -> int:
        return len(self._head) + len(self._body)

    def __bytes__(self) -> bytes:
        return self._head + self._body

    def between(self, begin: int, end: int) -> Pieces:
        """Return the bytes from `begin` up to `end`, where they lie."""
        before = len(self._head)
        body = memoryview(self._body)[max(0, begin - before):max(0, end - before)]
        return (memoryview(self._head)[begin:end], body) if begin < before else (body,)


Packed = bytes | BigEnvelope
Pieces = tuple[bytes | memoryview, ...]


class Frame(NamedTuple):
    """One decoded frame; `stamp` is in milliseconds of the sender's monotonic clock."""

    stamp: int
    lost: int
    envelopes: list[Envelope]


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a peer says it is, in the first frame of a connection; a WELCOME answers with the same fields.

    `token` is the proof of a `cell`, which gives its service as `host`; nobody else has one.
    """

    mesh: str
    kind: PeerKind
    host: str
    incarnation: int
    interest: tuple[str, ...] = ()
    software: str = ""
    token: str = field(default="", repr=False)


# --- frames ---------------------------------------------------------------------------------------------------------


def frame(stamp: int, lost: int, envelopes: Sequence[bytes | Pieces], count: int | None = None) -> bytes:
    """Return the frame that carries already encoded envelopes; there are `count` where some are joined already.

    One in pieces is alone in its frame.
    """
    items = (len(envelopes) if count is None else count) + 2
    head = bytes((0x90 | items,)) if items < 16 else b"\xdc" + items.to_bytes(2, "big")
    if items == 3 and type(envelopes[0]) is tuple:
        return b"".join((head, _pack(stamp), _pack(lost), *envelopes[0]))
    return head + _pack(stamp) + _pack(lost) + b"".join(envelopes)  # type: ignore[arg-type]


def decode_frame(data: bytes | memoryview) -> Frame:
    """Return the frame in `data`; raises `ProtocolError` if any part of it is not as the protocol says.

    A part of a big envelope that is over 64 KiB is no copy: it is a view of `data`.
    """
    try:
        items = (_lone_part(memoryview(data)) if len(data) > CHUNK else None) or msgpack.unpackb(
            data, max_str_len=MAX_HEADER, max_bin_len=MAX_PART, max_array_len=MAX_ENVELOPES + 2, max_map_len=0,
            max_ext_len=0,
        )
    except Exception as error:  # ValueError, ExtraData, StackError, unicode errors: the bytes are no frame
        raise ProtocolError(f"{len(data)} bytes are no frame: {type(error).__name__}: {error}") from None
    if type(items) is not list or len(items) < 2 or len(items) > MAX_ENVELOPES + 2:
        raise ProtocolError("a frame is an array of a stamp, a lost count and at most 256 envelopes")
    stamp, lost = items[0], items[1]
    if type(stamp) is not int or type(lost) is not int or not 0 <= stamp < 1 << 62 or not 0 <= lost < 1 << 62:
        raise ProtocolError("a frame begins with its stamp and its lost count, two unsigned integers")
    del items[:2]
    for envelope in items:
        _check(envelope)
    if len(data) > CHUNK:
        _check_sizes(items)
    return Frame(stamp, lost, items)


def _lone_part(data: memoryview) -> list[Any] | None:
    """Return what is in a frame of one part of a big envelope; None if it may be anything else."""
    unpacker = msgpack.Unpacker(max_buffer_size=64)
    try:
        unpacker.feed(data[:64])
        if unpacker.read_array_header() != 3:
            return None
        frame = [unpacker.unpack(), unpacker.unpack()]
        if unpacker.read_array_header() != 5:
            return None
        envelope = [unpacker.unpack() for _ in range(4)]
        begin = unpacker.tell()
    except Exception:  # whoever decodes all of it will say what is wrong
        return None
    size = len(data) - begin - 5
    if envelope[0] != CHUNK_OF or data[begin:begin + 5] != b"\xc6" + size.to_bytes(4, "big") or size > MAX_PART:
        return None
    return [*frame, [*envelope, data[begin + 5:]]]


def _check_sizes(envelopes: list[Envelope]) -> None:
    """Raise `ProtocolError` if an envelope that is no part of a big one should have travelled in parts."""
    for envelope in envelopes:
        values = envelope[-1] if envelope[0] == ITEMS else envelope
        if envelope[0] != CHUNK_OF and any(type(value) is bytes and len(value) > CHUNK for value in values):
            raise ProtocolError(f"an envelope of kind {Kind(envelope[0]).name} over {CHUNK} bytes travels in parts")


def begun_envelope(part: bytes | memoryview, total: int) -> tuple[Envelope, int]:
    """Return the envelope of `total` bytes that begins with `part`, without its body, and where in it that begins.

    Raises `ProtocolError` if it is none, or none that may travel in parts.
    """
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_BEGIN, max_str_len=MAX_HEADER, max_bin_len=MAX_HEADER, max_array_len=MAX_HOPS + 16,
        max_map_len=0, max_ext_len=0,
    )
    try:
        unpacker.feed(part[:MAX_BEGIN])
        envelope = [unpacker.unpack() for _ in range(unpacker.read_array_header() - 1)]
        begin = unpacker.tell()
        width = _BIN_WIDTHS[part[begin]]
    except Exception as error:
        raise ProtocolError(f"{len(part)} bytes begin no envelope: {type(error).__name__}: {error}") from None
    size = int.from_bytes(part[begin + 1:begin + 1 + width], "big")
    begin += 1 + width
    if begin > len(part) or begin + size != total or size > MAX_BODY:
        raise ProtocolError(f"an envelope of {total} bytes cannot have a body of {size}")
    envelope.append(b"")
    _check(envelope)
    if envelope[0] not in (CALL, REPLY, ERROR, EVENT, OPEN, ITEM, END):
        raise ProtocolError(f"an envelope of kind {envelope[0]} may not travel in chunks")
    return envelope, begin


# --- connection -----------------------------------------------------------------------------------------------------


def hello(who: Hello) -> bytes:
    """Return the first envelope of a connection."""
    return _greeting(HELLO, who)


def welcome(who: Hello) -> bytes:
    """Return the listener's answer to a hello it accepts."""
    return _greeting(WELCOME, who)


def _greeting(kind: int, who: Hello) -> bytes:
    fields = {"mesh": who.mesh, "kind": who.kind, "host": who.host, "incarnation": who.incarnation,
              "interest": _bounded(who.interest), "software": who.software}
    if who.token:
        fields["token"] = who.token
    return _pack_once((kind, VERSION, encode(fields)))


def read_greeting(envelope: Envelope) -> Hello:
    """Return who a HELLO or WELCOME speaks of; raises `ProtocolError` for another version or a missing field."""
    version, body = envelope[1], decode(envelope[2])
    if version != VERSION:
        raise ProtocolError(f"the peer speaks protocol version {version}, this side speaks {VERSION}")
    if not isinstance(body, dict):
        raise ProtocolError("a greeting's body is a map")
    interest = body.get("interest", [])
    if (
        not all(isinstance(body.get(name), str) for name in ("mesh", "kind", "host"))
        or type(body.get("incarnation")) is not int
        or body["kind"] not in PEER_KINDS
    ):
        raise ProtocolError("a greeting names mesh, kind, host and incarnation")
    return Hello(body["mesh"], body["kind"], body["host"], body["incarnation"], _patterns(interest),
                 str(body.get("software", "")), str(body.get("token", "")))


def refused(error: MeshError) -> bytes:
    """Return the listener's answer to a hello it does not accept."""
    return _pack_once((REFUSED, VERSION, encode({"code": error.code, "message": error.message})))


def read_refused(envelope: Envelope) -> MeshError:
    """Return why a hello was refused."""
    body = decode(envelope[2])
    if not isinstance(body, dict):
        raise ProtocolError("a refusal's body is a map")
    return from_wire(str(body.get("code", "")), str(body.get("message", "no reason given")), {})


def reset() -> bytes:
    """Return the answer to a frame from a connection that never said hello."""
    return _pack_once((RESET, b""))


def leaving() -> bytes:
    """Return the word that this peer stops on purpose."""
    return _pack_once((LEAVING, b""))


def interest(patterns: Sequence[str]) -> bytes:
    """Return the topic patterns this peer wants from now on, in place of the earlier ones."""
    return _pack_once((INTEREST, encode(_bounded(patterns))))


def _bounded(patterns: Sequence[str]) -> list[str]:
    """Return patterns that fit into one frame: these, or if they are too many the one that chooses every topic."""
    fits = len(patterns) <= MAX_PATTERNS and sum(len(one.encode()) for one in patterns) <= MAX_INTEREST
    return list(patterns) if fits else ["#"]


def read_interest(envelope: Envelope) -> tuple[str, ...]:
    """Return the patterns of an INTEREST."""
    return _patterns(decode(envelope[1]))


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_PATTERNS or not all(
        isinstance(item, str) and len(item) <= 256 for item in value
    ):
        raise ProtocolError(f"interest is a list of at most {MAX_PATTERNS} topic patterns of at most 256 characters")
    return tuple(value)


def heartbeat(sequence: int, progress_age_ms: int, inventory_hash: bytes) -> bytes:
    """Return a host's sign of progress: milliseconds since its loop last turned, and a hash of what it offers."""
    return _pack_once((HEARTBEAT, sequence, progress_age_ms, inventory_hash, b""))


def echo(sequence: int) -> bytes:
    """Return the registry's answer to one heartbeat."""
    return _pack_once((ECHO, sequence, b""))


# --- calls ----------------------------------------------------------------------------------------------------------


def call(number: int, request: Request) -> Packed:
    """Return the envelope of a request, OPEN for a stream; raises `MessageTooLarge` for a header over 2 KiB."""
    if len(request.body) > CHUNK:
        return _enlarged(call(number, request._replace(body=b"")), request.body)
    packed = _open(number, request) if request.credit else _pack(
        (CALL, number, int(request.deadline * 1000), request.service, request.operation, request.to_host,
         request.caller, request.path, _trace(request.trace), request.options, request.body)
    )
    if len(packed) - len(request.body) > MAX_HEADER:
        raise MessageTooLarge(
            f"the header of {request.target} is {len(packed) - len(request.body)} bytes, the limit is {MAX_HEADER}; "
            "names and call paths are too long", size=len(packed) - len(request.body), limit=MAX_HEADER,
        )
    return packed


def read_call(envelope: Envelope, shift: float, via: str) -> tuple[int, Request]:
    """Return number and request of a CALL; `shift` seconds turn the sender's clock into the receiver's."""
    _, number, deadline, service, operation, to_host, caller, path, trace, options, body = envelope
    return number, Request(
        service, operation, body, deadline / 1000 + shift, _read_trace(trace), caller, tuple(path), to_host,
        via, 0, options,
    )


def _open(number: int, request: Request) -> bytes:
    return _pack(
        (OPEN, number, int(request.deadline * 1000), request.service, request.operation, request.to_host,
         request.caller, request.path, _trace(request.trace), request.options, request.credit, request.body)
    )


def read_open(envelope: Envelope, shift: float, via: str) -> tuple[int, Request]:
    """Return number and request of an OPEN, with its credit; raises `ProtocolError` if that is zero."""
    *fields, credit, body = envelope
    if not credit:
        raise ProtocolError("a stream is opened with a credit of at least one item")
    number, request = read_call([*fields, body], shift, via)
    return number, request._replace(credit=min(credit, MAX_CREDIT))


def reply(number: int, answer: Reply) -> Packed:
    """Return the envelope of a reply, REPLY for a value and ERROR for an error or a value over 256 MiB."""
    error = answer.error
    if error is None:
        if CHUNK < len(answer.body) <= MAX_BODY:
            return _enlarged(reply(number, answer._replace(body=b"")), answer.body)
        if len(answer.body) <= MAX_BODY:
            return _pack((REPLY, number, answer.host, answer.attempts, answer.fallback or None, answer.body))
        error = MessageTooLarge(f"the result is {len(answer.body)} bytes, the limit is {MAX_BODY}",
                                size=len(answer.body), limit=MAX_BODY)
    return _pack_once((ERROR, number, answer.host, error.code or RemoteFailure.code, answer.attempts,
                       _error_body(error)))


def _error_body(error: MeshError) -> bytes:
    details = {name: value for name, value in error.details.items()
               if name in error.carries or name in ALWAYS}
    if not error.code:
        details = {"type": type(error).__name__}
    try:
        return encode({**details, "message": error.message[:8000]})
    except MeshError:  # a detail that may not travel must not swallow the error itself
        return encode({"message": error.message[:8000].encode("utf-8", "replace").decode("utf-8", "replace")})


def rebuilt(error: MeshError) -> MeshError:
    """Return an error as it would arrive from another host: no traceback, and only the details its code carries."""
    return _read_error(error.code or RemoteFailure.code, _error_body(error))


def _read_error(code: str, body: bytes) -> MeshError:
    try:
        details = decode(body)
    except ProtocolError as error:
        return error
    if not isinstance(details, dict):
        return ProtocolError(f"the body of an error {code} is {type(details).__name__}, expected a map")
    return from_wire(code, str(details.pop("message", code)), details)


def read_reply(envelope: Envelope) -> tuple[int, Reply]:
    """Return number and reply of a REPLY or ERROR; the body of an ERROR that does not decode is an error as well."""
    if envelope[0] == REPLY:
        _, number, host, attempts, fallback, body = envelope
        return number, Reply(body, None, host, None, attempts, fallback or "")
    _, number, host, code, attempts, body = envelope
    return number, Reply(b"", _read_error(code, body), host, None, attempts)


def cancel(number: int) -> bytes:
    """Return the word that nobody waits for this call any more."""
    return _pack((CANCEL, number, b""))


# --- streams --------------------------------------------------------------------------------------------------------


def opened(number: int, host: str) -> bytes:
    """Return the word that a stream is open: items follow."""
    return _pack((OPENED, number, host, b""))


def item(number: int, index: int, body: bytes) -> Packed:
    """Return the envelope of a stream's item; the first has index 0."""
    if len(body) > CHUNK:
        return _enlarged(item(number, index, b""), body)
    return _pack((ITEM, number, index, body))


def items(number: int, first: int, bodies: list[bytes]) -> bytes:
    """Return the envelope of items that follow on each other, the first of which has that index."""
    return _pack((ITEMS, number, first, bodies))


def credit(number: int, taken: int) -> bytes:
    """Return the word that the reader of a stream has taken so many items in all."""
    return _pack((CREDIT, number, taken, b""))


def end(number: int, count: int, error: MeshError | None) -> bytes:
    """Return the end of a stream after `count` items, or the error that took the place of the rest."""
    if error is None:
        return _pack((END, number, count, None, b""))
    return _pack_once((END, number, count, error.code or RemoteFailure.code, _error_body(error)))


def read_end(envelope: Envelope) -> tuple[int, int, MeshError | None]:
    """Return number, count of items and error of an END."""
    _, number, count, code, body = envelope
    return number, count, None if code is None else _read_error(code, body)


# --- events ---------------------------------------------------------------------------------------------------------


def event(happened: Event) -> bytes:
    """Return the envelope of an event; the same bytes serve every peer."""
    trace = None if happened.trace is None else _trace(happened.trace)
    return _pack((EVENT, happened.topic, happened.origin, happened.time, trace, happened.body))


def read_event(envelope: Envelope) -> Event:
    """Return the event of an EVENT."""
    _, topic, origin, time, trace, body = envelope
    return Event(topic, body, origin, time, None if trace is None else _read_trace(trace))


# --- chunks ---------------------------------------------------------------------------------------------------------


def chunk(transfer: int, total: int, offset: int, part: bytes) -> bytes:
    """Return one part of an encoded envelope of `total` bytes; `total` 0 means the transfer is given up."""
    return _pack_once((CHUNK_OF, transfer, total, offset, part))


def part(transfer: int, envelope: BigEnvelope, begin: int, end: int) -> Pieces:
    """Return the part of an envelope from `begin` up to `end` as `chunk` does, in pieces."""
    return (_announced(chunk(transfer, len(envelope), begin, b""), end - begin), *envelope.between(begin, end))


def _enlarged(empty: Packed, body: bytes) -> BigEnvelope:
    """Return an envelope that was packed without its body, with it."""
    assert isinstance(empty, bytes)
    return BigEnvelope(_announced(empty, len(body)), body)


def _announced(empty: bytes, size: int) -> bytes:
    """Return an envelope that was packed with an empty body up to where `size` bytes of body follow."""
    return empty[:-2] + b"\xc6" + size.to_bytes(4, "big")


def ack(transfer: int, received: int) -> bytes:
    """Return the word that `received` bytes of a transfer have arrived."""
    return _pack_once((ACK, transfer, received, b""))


# --- the parts ------------------------------------------------------------------------------------------------------

# Used on the loop's thread only; other threads build their few envelopes with `_pack_once`.
_pack: Callable[[Any], bytes] = msgpack.Packer(autoreset=True).pack
_pack_once: Callable[[Any], bytes] = msgpack.packb


def _trace(trace: Trace) -> bytes:
    return trace.trace_id + trace.span_id + trace.parent_id + (b"\x01" if trace.sampled else b"\x00")


def _read_trace(packed: bytes) -> Trace:
    return Trace(packed[:16], packed[16:24], packed[32] == 1, packed[24:32])


_BIN_WIDTHS: Mapping[int, int] = {0xc4: 1, 0xc5: 2, 0xc6: 4}
_NUMBER, _TEXT, _BIN, _NAME_OR_NIL, _PATH, _TRACE, _TRACE_OR_NIL, _REAL, _BODY, _BODIES = range(10)
_FIELDS: Mapping[int, tuple[int, ...]] = {
    HELLO: (_NUMBER, _BODY),
    WELCOME: (_NUMBER, _BODY),
    REFUSED: (_NUMBER, _BODY),
    RESET: (_BODY,),
    LEAVING: (_BODY,),
    CALL: (_NUMBER, _NUMBER, _TEXT, _TEXT, _NAME_OR_NIL, _TEXT, _PATH, _TRACE, _BIN, _BODY),
    REPLY: (_NUMBER, _TEXT, _NUMBER, _NAME_OR_NIL, _BODY),
    ERROR: (_NUMBER, _TEXT, _TEXT, _NUMBER, _BODY),
    CANCEL: (_NUMBER, _BODY),
    EVENT: (_TEXT, _TEXT, _REAL, _TRACE_OR_NIL, _BODY),
    CHUNK_OF: (_NUMBER, _NUMBER, _NUMBER, _BODY),
    ACK: (_NUMBER, _NUMBER, _BODY),
    INTEREST: (_BODY,),
    HEARTBEAT: (_NUMBER, _NUMBER, _BIN, _BODY),
    ECHO: (_NUMBER, _BODY),
    OPEN: (_NUMBER, _NUMBER, _TEXT, _TEXT, _NAME_OR_NIL, _TEXT, _PATH, _TRACE, _BIN, _NUMBER, _BODY),
    OPENED: (_NUMBER, _TEXT, _BODY),
    ITEM: (_NUMBER, _NUMBER, _BODY),
    CREDIT: (_NUMBER, _NUMBER, _BODY),
    END: (_NUMBER, _NUMBER, _NAME_OR_NIL, _BODY),
    ITEMS: (_NUMBER, _NUMBER, _BODIES),
}


def _check(envelope: Any) -> None:
    """Raise `ProtocolError` unless `envelope` has the fields of its kind."""
    if type(envelope) is not list or not envelope or type(envelope[0]) is not int:
        raise ProtocolError("an envelope is an array that begins with its kind")
    if envelope[0] == CALL:  # the hot kinds spelled out: a loop over the table costs three times as much
        if len(envelope) == 11:
            _, number, deadline, service, operation, to_host, caller, path, trace, options, body = envelope
            if (
                type(number) is int and 0 <= number < 1 << 62
                and type(deadline) is int and 0 <= deadline < 1 << 62
                and type(service) is str and type(operation) is str
                and (to_host is None or type(to_host) is str) and type(caller) is str
                and _is_path(path) and type(trace) is bytes and len(trace) == TRACE and type(options) is bytes
                and type(body) is bytes
            ):
                return
    elif envelope[0] == REPLY:
        if (
            len(envelope) == 6 and type(envelope[1]) is int and 0 <= envelope[1] < 1 << 62
            and type(envelope[2]) is str and type(envelope[3]) is int and 0 <= envelope[3] < 1 << 62
            and (envelope[4] is None or type(envelope[4]) is str) and type(envelope[5]) is bytes
        ):
            return
    elif envelope[0] == EVENT:
        if len(envelope) == 6:
            _, topic, origin, time, trace, body = envelope
            if (
                type(topic) is str and type(origin) is str
                and type(time) in (int, float) and time == time and abs(time) < 1e15
                and (trace is None or (type(trace) is bytes and len(trace) == TRACE)) and type(body) is bytes
            ):
                return
    elif envelope[0] == ITEM:
        if (
            len(envelope) == 4 and type(envelope[1]) is int and 0 <= envelope[1] < 1 << 62
            and type(envelope[2]) is int and 0 <= envelope[2] < 1 << 62 and type(envelope[3]) is bytes
        ):
            return
    else:
        fields = _FIELDS.get(envelope[0])
        if fields is None:
            raise ProtocolError(f"envelope kind {envelope[0]} is not known to protocol version {VERSION}")
        if len(envelope) == len(fields) + 1 and all(map(_fits, fields, envelope[1:])):
            return
    raise ProtocolError(f"an envelope of kind {Kind(envelope[0]).name} does not have the fields of its kind")


def _fits(field: int, value: Any) -> bool:
    match field:
        case 0:
            return type(value) is int and 0 <= value < 1 << 62
        case 1:
            return type(value) is str
        case 2 | 8:
            return type(value) is bytes or type(value) is memoryview
        case 3:
            return value is None or type(value) is str
        case 4:
            return _is_path(value)
        case 5:
            return type(value) is bytes and len(value) == TRACE
        case 6:
            return value is None or (type(value) is bytes and len(value) == TRACE)
        case 9:
            return type(value) is list and set(map(type, value)) == {bytes}
        case _:
            return type(value) in (int, float) and value == value and abs(value) < 1e15


def _is_path(value: Any) -> bool:
    return type(value) is list and (not value or (len(value) <= MAX_HOPS + 1 and set(map(type, value)) == {str}))
