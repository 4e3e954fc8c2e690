"""The errors of a host: kept, put on the error bus, told outside."""
