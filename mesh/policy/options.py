"""How one call is made, beside its arguments: where the caller wants it otherwise than the rules of the service say.

The options travel from an agent's own process, or from an operator, to the host that makes the call, and end there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mesh.address import nearest
from mesh.errors import InvalidArgument, MeshError
from mesh.message import decode, encode
from mesh.policy.balance import HASH, STRATEGIES
from mesh.records import split_place

MOST_ATTEMPTS = 100
KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call wants; None is as the rules say.

    `to_host` names the host that must answer, or one instance of it as `pc2#2`. `balance` is one of `STRATEGIES`; a
    `key`, text, number or bytes, is for `hash`, which it chooses by itself. `retry` is False for one attempt, or how
    many there may be. Raises `InvalidArgument` for what is none of these.
    """

    to_host: str | None = None
    balance: str | None = None
    key: str | int | float | bytes | None = None
    retry: bool | int | None = None

    def __post_init__(self) -> None:
        if self.to_host is not None:
            split_place(self.to_host)
        if self.balance is not None and self.balance not in STRATEGIES:
            like = nearest(str(self.balance), STRATEGIES)
            hint = f", did you mean {like!r}?" if like else ""
            raise _refused("balance", self.balance, f"one of {', '.join(STRATEGIES)}{hint}")
        if self.key is not None:
            if type(self.key) not in (str, int, float, bytes) or len(encode(self.key)) > KEY_BYTES:
                raise _refused("key", self.key, f"text, a number or bytes, {KEY_BYTES} bytes at most")
            if self.balance not in (None, HASH):
                raise _refused("key", self.key, f"for balance={HASH!r}, or none said, not for {self.balance!r}")
        if type(self.retry) not in (bool, int, type(None)) or (self.retry and not 1 <= self.retry <= MOST_ATTEMPTS):
            raise _refused("retry", self.retry, f"False, or how many attempts there may be, 1 to {MOST_ATTEMPTS}")

    @property
    def attempts(self) -> int | None:
        """How often the call may be tried, the first time included; None for as often as the rule says."""
        if self.retry is None or self.retry is True:
            return None
        return self.retry or 1

    @property
    def strategy(self) -> str | None:
        """The strategy that was asked for; a key alone asks for `hash`."""
        return HASH if self.balance is None and self.key is not None else self.balance

    def to_wire(self) -> bytes:
        """Return what travels with the call beside its place; nothing where the rules decide."""
        if self.balance is None and self.key is None and self.attempts is None:
            return b""
        wanted = {"balance": self.balance, "key": self.key, "retry": self.attempts}
        return encode({name: value for name, value in wanted.items() if value is not None})

    @staticmethod
    def from_wire(options: bytes) -> CallOptions:
        """Return the options that `to_wire` made; raises `InvalidArgument` for anything else."""
        return _read(options) if options else PLAIN


PLAIN = CallOptions()
"""As the rules say."""
_FIELDS = {"balance", "key", "retry"}


@lru_cache(maxsize=256)
def _read(options: bytes) -> CallOptions:
    try:
        found: Any = decode(options)
    except MeshError as error:
        raise InvalidArgument(f"the options of the call do not decode: {error}", path="options") from None
    if type(found) is not dict or not found.keys() <= _FIELDS:
        raise _refused("options", found, f"a map with {', '.join(sorted(_FIELDS))}")
    return CallOptions(**found)


def _refused(name: str, found: object, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{name} of a call is {wanted}; found {found!r:.60}", path=name)
