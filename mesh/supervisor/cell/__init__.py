"""One running instance of a service: its life, what holds its agent, and where its code runs."""
