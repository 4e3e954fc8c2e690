"""Sockets: the only part of the mesh that knows ZeroMQ."""
