"""An event on its way to one member of a group: a call of the operation `#<group>`, so that its fate is known.

The body is an array of topic, origin, wall-clock time and the encoded payload.
"""

from __future__ import annotations

from mesh.errors import ProtocolError
from mesh.message import Event, Request, decode, encode
from mesh.records import GROUP


def body_of(event: Event) -> bytes:
    """Return an event as the body of the call; its trace is that of the call."""
    return encode([event.topic, event.origin, event.time, event.body])


def event_of(request: Request) -> Event:
    """Return the event of such a call; raises `ProtocolError` for any other body."""
    found = decode(request.body)
    if type(found) is not list or [type(item) for item in found] != [str, str, float, bytes]:
        raise ProtocolError(f"{request.target} takes an array of topic, origin, time and payload")
    topic, origin, time, payload = found
    return Event(topic, payload, origin, time, request.trace)


def group_of(request: Request) -> str | None:
    """Return the group whose member a call is for, None for a call of an operation."""
    return request.operation[1:] if request.operation[:1] == GROUP else None
