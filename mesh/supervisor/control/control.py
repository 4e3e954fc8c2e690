"""The operations of a host itself, under the reserved service name `supervisor`.

They are declared and checked like an agent's, but belong to no agent: nothing can stop them by name.
"""

from __future__ import annotations

from mesh.address import nearest
from mesh.agent.schema import Operation, compile_operations
from mesh.errors import InvalidArgument, MeshError, ProtocolError, RemoteFailure, UnknownOperation
from mesh.message import Reply, Request, decode
from mesh.supervisor.control.benched import Benched
from mesh.supervisor.control.caching import Caching
from mesh.supervisor.control.config import Config
from mesh.supervisor.control.errors import Errors
from mesh.supervisor.control.events import Events
from mesh.supervisor.control.examined import Examined
from mesh.supervisor.control.life import Life
from mesh.supervisor.control.logs import Logs
from mesh.supervisor.control.looking import Looking
from mesh.supervisor.control.ruled import Family, Ruled

FAMILIES: tuple[type[Family], ...] = (Benched, Caching, Looking, Life, Config, Errors, Events, Examined, Logs)


def operations() -> dict[str, tuple[type[Family], Operation]]:
    """Return every operation of a host with the family it belongs to."""
    return {name: (kind, one) for kind in FAMILIES for name, one in compile_operations(kind).items()}


class Control:
    """What operators and other hosts may ask of a host."""

    def __init__(self, ruled: Ruled) -> None:
        self._ruled = ruled
        families = {kind: kind(ruled) for kind in FAMILIES}
        self._operations = {name: (families[kind], one) for name, (kind, one) in operations().items()}

    async def handle(self, request: Request) -> Reply:
        """Answer one request; an error takes the place of the value, never the place of the reply."""
        host = self._ruled.name
        asked = self._operations.get(request.operation)
        if asked is None:
            like = nearest(request.operation, self._operations)
            hint = f"did you mean {like}?" if like else f"it has {', '.join(sorted(self._operations))}"
            return Reply(error=UnknownOperation(f"supervisor has no operation {request.operation}; {hint}",
                                                suggestion=like), host=host)
        family, operation = asked
        try:
            arguments = operation.bind(decode(request.body))
            value = await getattr(family, operation.name)(**arguments)
            return Reply(operation.encode_result(value), host=host)
        except ProtocolError as error:
            return Reply(error=InvalidArgument(f"{request.target}: {error}", path="arguments"), host=host)
        except MeshError as error:
            known = error if error.code else RemoteFailure(error.message, type=type(error).__name__)
            return Reply(error=known, host=host)
