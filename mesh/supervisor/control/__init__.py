"""What operators and other hosts may ask of a host: one file per family of operations, one that puts them together."""
