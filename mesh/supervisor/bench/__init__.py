"""What `mesh bench` needs of a host: an agent that echoes, for as long as it is measured, and who calls it."""
