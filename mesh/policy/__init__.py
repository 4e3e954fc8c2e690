"""What is wrapped around a call: one file each, put together in `stack.py`."""
