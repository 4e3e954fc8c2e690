"""Programs behind every speed claim: ratios to a baseline measured in the same run."""
