"""Test agents without a network: an in-memory mesh, a clock turned by hand, fake peers, recorded events.

    @in_mesh
    async def test_remembers(mesh: InMemoryMesh) -> None:
        await mesh.add("notes", Notes)
        await mesh.request("notes.add", text="milk")
        assert await mesh.request("notes.all") == ["milk"]
"""

from mesh.testing.clock import FakeClock
from mesh.testing.inmemory import InMemoryMesh, RecordedEvent, in_mesh
from mesh.testing.peer import FakePeer

__all__ = ["FakeClock", "FakePeer", "InMemoryMesh", "RecordedEvent", "in_mesh"]
