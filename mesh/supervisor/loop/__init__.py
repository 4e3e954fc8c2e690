"""The event loop's time: who used it, who held it, and who loses a place on it."""
