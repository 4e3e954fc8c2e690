"""A cell in a process of its own: the parent's side (`proxy`, `nursery`, `process`) and the child's (`tenant`)."""
