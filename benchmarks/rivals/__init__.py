"""Other ways to call across processes, measured like the mesh: the same map, 64 outstanding and alone."""
