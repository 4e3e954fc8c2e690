"""What a host keeps of answers: by which key, in its memory, and in the Redis that all hosts share."""

from mesh.cache.group import Group
from mesh.cache.key import key_of
from mesh.cache.memory import Entry, Memory
from mesh.cache.terms import Terms

__all__ = ["Entry", "Group", "Memory", "Terms", "key_of"]
