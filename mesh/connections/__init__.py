"""What lies outside the mesh and its agents share: bounded, health-checked connections, one set per process."""

from mesh.connections.answer import Answer
from mesh.connections.connections import AgentConnections, Connections
from mesh.connections.health import Health
from mesh.connections.http import HttpClient
from mesh.connections.target import Target, TargetFigures

__all__ = ["AgentConnections", "Answer", "Connections", "Health", "HttpClient", "Target", "TargetFigures"]
