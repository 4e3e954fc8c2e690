"""What travels between agents: requests, replies and events, and which values may be in them.

A message is a named tuple (five of them are made for every call, and a frozen dataclass costs three times as much) and
its body is already encoded: whoever holds it can pass it on, never change it. Encoding is one
place for local and remote calls alike, so an argument that may not travel is refused at the caller, wherever the
callee runs.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sized
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

import msgpack
from pydantic import BaseModel

from mesh.errors import InvalidArgument, MeshError, ProtocolError
from mesh.tracing import Trace

MAX_DEPTH = 32
MAX_ITEMS = 1_000_000
MAX_BODY = 256 * 1024 * 1024
ARRAY_EXTENSION = 1
BIG = 64 * 1024
MUCH = 1024 * 1024
_DTYPE = re.compile(r"[<>|=][biufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[a-zA-Z]{1,2}\])?\Z")


class Request(NamedTuple):
    """One question to one operation; `deadline` is in seconds of this process's monotonic clock.

    `caller` is what the caller says of itself (`nlu@mainpc`), `via` the peer whose connection brought the request, as
    its key proves; empty for a call from inside this process. `to_host` is the place that must answer: a host, or one
    instance there as `pc2#2`. `credit` above zero asks for a stream: so many items may be on their way to the caller
    that it has not taken yet. `options` is an encoded map of how the caller's host is to make this one call; empty for
    as the rules of the service say, and on every call from host to host.
    """

    service: str
    operation: str
    body: bytes
    deadline: float
    trace: Trace
    caller: str
    path: tuple[str, ...] = ()
    to_host: str | None = None
    via: str = ""
    credit: int = 0
    options: bytes = b""

    @property
    def target(self) -> str:
        """`service.operation`, as it stands in call paths and messages."""
        return f"{self.service}.{self.operation}"


class Items(ABC):
    """The encoded items of a stream, in order; ends with the last one, or raises the `MeshError` that took its place.

    Whoever has them reads on or closes them: until then whoever makes them goes on. An implementation calls `ended`
    once, however they end. `verdict` is the error that they end with if they are cancelled, where one is known.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.verdict: MeshError | None = None
        self._over = False
        self._callbacks: list[Callable[[MeshError | None], object]] = []

    def __aiter__(self) -> Items:
        return self

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Return the next item; raises `StopAsyncIteration` after the last one."""

    async def pour(self, emit: Callable[[bytes], bool]) -> bool:
        """Give each item to `emit` as soon as it is there, until that says no; returns False when they have ended."""
        try:
            while emit(await self.__anext__()):
                pass
        except StopAsyncIteration:
            return False
        return True

    async def some(self) -> list[bytes]:
        """Return those that are there, at least one; none is the end. For readers to whom each hand-over is dear."""
        try:
            return [await self.__anext__()]
        except StopAsyncIteration:
            return []

    @abstractmethod
    async def aclose(self) -> None:
        """Have no more of them made; returns when whoever makes them has been told, here also when it has ended."""

    @abstractmethod
    def drop(self) -> None:
        """Have no more of them made, without waiting."""

    def at_end(self, callback: Callable[[MeshError | None], object]) -> None:
        """Call `callback` when they end, with the error if there is one; to be asked for before that."""
        self._callbacks.append(callback)

    def ended(self, error: MeshError | None) -> None:
        """Tell whoever wants to know that no more will come."""
        if not self._over:
            self._over = True
            for callback in self._callbacks:
                callback(error)


class Reply(NamedTuple):
    """The one answer to a request: an encoded value, the error that took its place, or the items of a stream.

    `attempts` says how often the callee, or one after the other, was asked for it, `fallback` what answered in place
    of the operation, which had failed: `value`, or another `service.operation`.
    """

    body: bytes = b""
    error: MeshError | None = None
    host: str = ""
    items: Items | None = None
    attempts: int = 1
    fallback: str = ""

    def value(self) -> Any:
        """Return the decoded value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return decode(self.body)


class Event(NamedTuple):
    """Something that happened, for whoever listens to its topic; `time` is wall-clock seconds at the publisher."""

    topic: str
    body: bytes
    origin: str
    time: float
    trace: Trace | None = None

    def value(self) -> Any:
        """Return the decoded payload."""
        return decode(self.body)


Answer = Reply | Awaitable[Reply]
"""The reply where nothing has to be waited for, else what to await for it."""
Handler = Callable[[Request], Awaitable[Reply]]
Responder = Callable[[Request], Answer]
"""Answers at once where it can; what it returns otherwise is awaited in a task of its own."""


async def replied(answer: Answer) -> Reply:
    """Return the reply, now or when it comes."""
    return answer if isinstance(answer, Reply) else await answer


_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


def encode(value: Any, *, name: str = "value") -> bytes:
    """Return `value` as msgpack.

    Raises `InvalidArgument` naming the path below `name` for what may not travel: unknown types, numbers over 64 bit,
    more than 32 levels or a million items, maps whose keys are not text.
    """
    plain = value if _is_flat(value) else _plain(value, name, 1)
    try:
        packed: bytes = _local.pack(plain)
    except TypeError:  # bytes or an array over 64 KiB, which are copied once only: out of where they lie
        packed = b"".join(_pieces(plain, name))
    except (OverflowError, ValueError) as error:  # numbers over 64 bit, and text that is no Unicode
        raise _refused(_culprit(plain, name), f"a value that cannot be encoded ({error})") from None
    if len(packed) > MUCH:
        _local.renew()
    return packed


def decode(body: bytes) -> Any:
    """Return the value in `body`; raises `ProtocolError` for anything but one msgpack value within the limits."""
    # An item takes a byte at least. msgpack makes room for as many as are announced, at each level, before it looks.
    most = min(MAX_ITEMS, len(body))
    try:
        value = msgpack.unpackb(
            body, ext_hook=_extension, max_array_len=most, max_map_len=most,
            timestamp=1,  # msgpack's own extension cannot be switched off
        )
    except Exception as error:  # msgpack raises ValueError, its own and unicode errors alike
        raise ProtocolError(f"a body of {len(body)} bytes does not decode: {type(error).__name__}: {error}") from None
    if type(value) in (dict, list):
        _check_inside(value, 1)
    return value


def field_of(body: bytes, name: str) -> Any:
    """Return one value of the encoded map in `body`, the others not decoded; None where there is none of that name."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(body)))
    try:
        unpacker.feed(body)
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == name:
                begin = unpacker.tell()
                unpacker.skip()
                return decode(body[begin : unpacker.tell()])
            unpacker.skip()
    except Exception:  # no map, or cut off: who decodes all of it will say so
        return None
    return None


class _Local(threading.local):
    """A packer for each thread: a new one for each value costs twice as much."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Take a new one: a packer keeps twice the memory of the largest value that it has ever packed."""
        self.pack = msgpack.Packer(autoreset=True).pack


_local = _Local()


class _Raw:
    """Bytes over 64 KiB on their way into a body: what msgpack says before them, and where they lie."""

    __slots__ = ("data", "head")

    def __init__(self, head: bytes, data: bytes | memoryview) -> None:
        self.head = head
        self.data = data


def _pieces(value: Any, name: str) -> Iterator[bytes | memoryview]:
    """Yield plain values as msgpack, in pieces."""
    if type(value) is _Raw:
        yield value.head
        yield value.data
        return
    try:
        yield _local.pack(value)
        return
    except TypeError:
        pass
    except (OverflowError, ValueError) as error:
        raise _refused(_culprit(value, name), f"a value that cannot be encoded ({error})") from None
    if type(value) is dict:
        yield _header(0x80, b"\xde", b"\xdf", len(value))
        for key, item in value.items():
            yield from _pieces(key, name)
            yield from _pieces(item, f"{name}.{key}")
    else:
        yield _header(0x90, b"\xdc", b"\xdd", len(value))
        for index, item in enumerate(value):
            yield from _pieces(item, f"{name}[{index}]")


def _header(short: int, medium: bytes, long: bytes, count: int) -> bytes:
    """Return how a map or list of `count` items begins."""
    if count < 16:
        return bytes((short | count,))
    return medium + count.to_bytes(2, "big") if count < 1 << 16 else long + count.to_bytes(4, "big")


def _is_flat(value: Any) -> bool:
    """Tell whether `value` is a scalar or a map of scalars, which needs no copy; big ones are none."""
    if type(value) is dict and len(value) <= MAX_ITEMS:
        for key, item in value.items():
            if type(key) is not str or type(item) not in _SCALARS:
                return False
            if type(item) is bytes and len(item) > BIG:
                return False
        return True
    return type(value) in _SCALARS and (type(value) is not bytes or len(value) <= BIG)


def _plain(value: Any, name: str, depth: int) -> Any:
    """Return `value` built of what msgpack knows, as a copy."""
    kind = type(value)
    if kind in _SCALARS:
        return _bin(value, name) if kind is bytes and len(value) > BIG else value
    if depth > MAX_DEPTH:
        raise _refused(name, f"more than {MAX_DEPTH} levels")
    if isinstance(value, BaseModel):
        return _plain(_dumped(value), name, depth)
    if isinstance(value, Mapping):
        _count(value, name)
        copy: dict[str, Any] = {}
        for key, item in value.items():
            if type(key) is not str:
                raise _refused(name, f"a map key {key!r} of type {type(key).__name__}; keys are text")
            copy[key] = _plain(item, f"{name}.{key}", depth + 1)
        return copy
    if isinstance(value, (list, tuple, set, frozenset)):
        _count(value, name)
        return [_plain(item, f"{name}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Enum):
        return _plain(value.value, name, depth)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (PurePath, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bin(value, name)
    if isinstance(value, str):  # subclasses travel as what they are, whatever they say of themselves
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if kind.__module__ == "numpy":
        return _array(value, name)
    raise _refused(name, f"{kind.__module__}.{kind.__qualname__}, which may not travel; "
                   "send plain values, bytes, arrays or pydantic models")


def _bin(value: bytes | bytearray | memoryview, name: str) -> bytes | _Raw:
    """Return bytes as they are packed: small ones as a copy, big ones where they lie."""
    data = memoryview(value)
    if data.nbytes <= BIG:
        return bytes(value)
    if not data.c_contiguous:
        data = memoryview(bytes(value))
    return _Raw(b"\xc6" + _announced(data.nbytes, name), data.cast("B"))


def _announced(size: int, name: str) -> bytes:
    """Return how msgpack says that `size` bytes follow."""
    if size >= 1 << 32:
        raise _refused(name, f"{size} bytes; no more than {MAX_BODY} may travel")
    return size.to_bytes(4, "big")


def _count(value: Sized, name: str) -> None:
    if len(value) > MAX_ITEMS:
        raise _refused(name, f"{len(value)} items; no more than {MAX_ITEMS} may travel in one list or map")


def _dumped(model: BaseModel) -> Any:
    """Return a model's fields as plain values, by pydantic's compiled serializer; bytes stay bytes."""
    return model.__pydantic_serializer__.to_python(model)


def _array(value: Any, name: str) -> Any:
    """Return a numpy array as an extension (dtype, shape, raw data) and a numpy scalar as its Python value."""
    if not hasattr(value, "tobytes") or not hasattr(value, "dtype"):
        raise _refused(name, f"numpy.{type(value).__name__}, which may not travel")
    if value.dtype.hasobject or value.dtype.names:
        raise _refused(name, f"an array of {value.dtype}; convert it to a numeric dtype")
    if value.shape == ():
        plain = value.item()
        if type(plain) not in _SCALARS:
            raise _refused(name, f"numpy.{type(value).__name__}, which may not travel")
        return plain
    head = msgpack.packb([value.dtype.str, list(value.shape)])
    if value.nbytes <= BIG:
        return msgpack.ExtType(ARRAY_EXTENSION, head + value.tobytes())
    data = memoryview(value.reshape(-1).view("u1") if value.flags.c_contiguous else value.tobytes())
    return _Raw(b"\xc9" + _announced(len(head) + value.nbytes, name) + bytes((ARRAY_EXTENSION,)) + head, data)


def _extension(code: int, data: bytes) -> Any:
    if code != ARRAY_EXTENSION:
        raise ValueError(f"extension type {code} is not known")
    try:
        import numpy  # only those who send arrays pay for numpy
    except ImportError:
        raise ValueError("it holds an array, and numpy is not installed here; pip install numpy") from None
    unpacker = msgpack.Unpacker(
        max_buffer_size=1024, max_array_len=64, max_str_len=64, max_bin_len=0, max_map_len=0, max_ext_len=0
    )
    unpacker.feed(data[:1024])
    dtype, shape = unpacker.unpack()
    if type(dtype) is not str or not _DTYPE.match(dtype):
        raise ValueError(f"an array of {dtype!r:.40}")
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"an array of the shape {shape!r:.40}")
    return numpy.frombuffer(data, dtype=numpy.dtype(dtype), offset=unpacker.tell()).reshape(shape)


def _check_inside(value: Any, depth: int) -> None:
    """Raise `ProtocolError` if a map or list goes too deep, or a map has a key that is no text."""
    if depth > MAX_DEPTH:
        raise ProtocolError(f"a body is nested deeper than {MAX_DEPTH} levels")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ProtocolError(f"a body has a map key of type {type(key).__name__}; keys are text")
            if type(item) is dict or type(item) is list:
                _check_inside(item, depth + 1)
        return
    for item in value:
        if type(item) is dict or type(item) is list:
            _check_inside(item, depth + 1)


def _culprit(value: Any, name: str) -> str:
    """Return the path of the first value below `name` that msgpack does not take."""
    inside: Iterable[tuple[Any, str]] = ()
    if type(value) is dict:
        inside = ((item, f"{name}.{key}") for key, item in value.items())
    elif type(value) is list:
        inside = ((item, f"{name}[{index}]") for index, item in enumerate(value))
    for item, path in inside:
        try:
            msgpack.packb(item)
        except (OverflowError, ValueError):
            return _culprit(item, path)
    return name


def _refused(name: str, found: str) -> InvalidArgument:
    return InvalidArgument(f"{name} holds {found}", path=name)
