"""What a server answered over HTTP, read as far as it may be."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.errors import RemoteFailure

_PACKED = {"gzip", "x-gzip", "deflate"}
_TOLD = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with small letters, and the body, unpacked."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, in the charset the server names."""
        charset = next((part.partition("=")[2].strip("\"' ") for part in self.headers.get("content-type", "").split(";")
                        if part.strip().lower().startswith("charset=")), "utf-8")
        try:
            return self.body.decode(charset, "replace")
        except LookupError:  # a charset that nobody knows
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON; raises `RemoteFailure` when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise RemoteFailure(f"{self.url} answered {self.body[:_TOLD]!r}, which is no JSON",
                                type="UnusableAnswer") from None


async def read(url: str, parts: AsyncIterable[bytes], packing: str, limit: int) -> bytes:
    """Return a body of at most `limit` bytes, unpacked; it is not read any further than that.

    Unpacking stops at the limit too, so that a small answer cannot fill the memory.
    """
    coding = packing.strip().lower()
    if coding not in ("", "identity", *_PACKED):
        raise RemoteFailure(f"{url} answered in the coding {coding!r}, which was not asked for", type="UnusableAnswer")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding in _PACKED else None
    body = bytearray()
    async for part in parts:
        if unpack is None:
            body += part
        else:
            try:
                body += unpack.decompress(part, limit + 1 - len(body))
            except zlib.error:
                raise RemoteFailure(f"{url} answered something that does not unpack", type="UnusableAnswer") from None
        if len(body) > limit:
            raise RemoteFailure(f"{url} answered more than {limit / 2**20:g} MiB; raise `max_response_mb`, or ask for "
                                "less", type="AnswerTooLarge")
    return bytes(body)
