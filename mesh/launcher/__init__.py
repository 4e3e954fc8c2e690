"""The parent of a machine's mesh processes, and what it knows of them."""
