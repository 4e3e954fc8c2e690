"""How what changes while a host runs, settings and files, reaches its agents."""
