"""The process that runs on a host: loads agents, owns the sockets, restarts what dies."""
