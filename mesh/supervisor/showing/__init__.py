"""What a host shows of itself, its machine and its logs when somebody asks."""
