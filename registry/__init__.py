"""The registry: the daemon that knows who serves what and who is well.

`leases`, `desired`, `overrides` and `table` decide and take the time as an argument; `store` keeps what must last;
`service` answers requests; `daemon` holds the sockets. Run it with `python -m registry`.
"""
