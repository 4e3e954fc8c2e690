"""Memory of big bodies is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

from mesh.transport.heap import keep_heap

PROGRAM = """
import resource
from mesh.transport.heap import keep_heap
assert keep_heap()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def pass_by():
    some = [bytes(bytearray(size)) for size in (1 << 20, 3 << 20, 200_000, 1 << 19)]
    return b"".join(some[2:])
pass_by()
before = faults()
for _ in range(50):
    pass_by()
print(faults() - before)
"""


def test_bodies_of_a_mebibyte_are_laid_on_the_same_pages_again() -> None:
    if platform.libc_ver()[0] != "glibc":
        assert not keep_heap()
        return
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50 * 100, "of some 1,200 pages each time"
