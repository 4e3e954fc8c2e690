"""Events that a caller has a host publish."""

from __future__ import annotations

from typing import Any

from mesh.agent.operation import operation
from mesh.supervisor.control.ruled import Family
from mesh.topics import check_topic


class Events(Family):
    """Publishing on behalf of an operator."""

    @operation
    async def publish_event(self, topic: str, data: Any = None) -> None:
        """Publish an event for the caller."""
        check_topic(topic)
        self._ruled.publish(topic, data, f"operator@{self._ruled.name}")
